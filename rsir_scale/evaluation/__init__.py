"""From ranks of held-out items to metrics, and from metrics to what may be claimed."""
