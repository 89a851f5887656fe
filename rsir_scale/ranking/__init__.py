"""Queries against the item table: counts of better items and top candidates."""
