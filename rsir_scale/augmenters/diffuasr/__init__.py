"""DiffuASR: items before a sequence, written by diffusion over item vectors."""
