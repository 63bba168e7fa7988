"""The regions of a demonstration: embedded archives and the synthetic province they hold."""
