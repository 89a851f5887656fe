"""Tests of the scripts that published results rest on."""
