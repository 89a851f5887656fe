"""The paper's own augmenter: a model writes, and a fidelity check decides which steps stay."""
