"""Measurements and long checks, each runnable alone: `python -m benchmarks.ROOM.NAME`."""
