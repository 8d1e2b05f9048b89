"""Computed scenes with exact depth, for the demo, tests and training."""
