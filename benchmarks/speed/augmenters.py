"""What does each augmenter cost, and how much does it write? Seconds to prepare and to write Toys, on one core.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.augmenters --data data/toys --json docs/results/augmenters.json

Theta_0 is fitted for a few passes once; each augmenter then learns what it needs, prepares and writes all sources of
D_0. What an augmenter learns gets a few passes, too (`--epochs`): the seconds of one pass are told, and its number of
passes beside them. The rival `literal` writes a sample of the sources one at a time, encoding every context from the
start; its rows must equal those of the batched writer before its time counts.
"""
