"""Tests of `benchmarks.faults`."""
