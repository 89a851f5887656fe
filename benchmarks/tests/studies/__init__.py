"""Tests of `benchmarks.studies`."""
