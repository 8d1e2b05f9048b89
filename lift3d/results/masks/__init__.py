"""Masks of things, the same from every view, and what they are called."""
