"""Settings: their sections and defaults, how a file of them is read, and which of them change a result."""
