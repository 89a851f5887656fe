"""Interaction log → prepared dataset. No torch and no ray in this room."""
