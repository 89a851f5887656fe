"""Backbones: a context of items in, a query vector out; items are scored by inner product with it."""
