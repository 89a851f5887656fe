"""ASReP: short sequences, extended backwards."""
