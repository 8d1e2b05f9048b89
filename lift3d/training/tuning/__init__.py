"""Tuning an encoder on its own lifted features."""
