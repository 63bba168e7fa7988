"""One peer archive, made dependable."""
