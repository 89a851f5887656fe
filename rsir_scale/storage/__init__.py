"""Where bytes live: objects under keys relative to a root."""
