"""DR4SR: rows are patterns that several sequences share, and what a network trained to turn sequences into them writes."""
