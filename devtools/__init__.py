"""What tests, benchmarks and the Makefile share. It imports none of them, and is not installed."""
