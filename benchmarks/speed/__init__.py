"""Seconds and bytes, ours beside others'."""
