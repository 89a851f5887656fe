"""The run directory: what is planned, what counts, what it came from, and who may write. No torch, no ray."""
