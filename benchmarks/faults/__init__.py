"""Runs that are killed, cut off, overtaken or fed nonsense."""
