"""Finished runs and studies as pages for people: one HTML file each, which needs no network."""
