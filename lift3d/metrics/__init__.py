"""Metrics: fidelity to the plain 2D answer, agreement with labels, and consistency between views."""
