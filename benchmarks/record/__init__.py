"""On which machine a figure was taken, and how it is kept."""
