"""Fitting one backbone to sequences, on one process or on many."""
