"""Tests of `benchmarks.speed`."""
