"""The recursion over iterations, and what comes of a finished run."""
