"""What a finished run is asked for: recommendations, exports, metrics computed again."""
