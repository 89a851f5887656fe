"""DR4SR: patterns that several sequences share, and rows of a network that learned to make patterns of sequences."""
