"""Writing new sequences with a trained backbone, step by step, under the fidelity check."""
