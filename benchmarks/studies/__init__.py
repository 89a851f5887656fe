"""What generated data does to a model: arms, seeds, intervals."""
