"""What tests and benchmarks share: an S3 server that fails on demand. It imports neither, and is not installed."""
