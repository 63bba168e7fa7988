"""Many regions, one answer."""
