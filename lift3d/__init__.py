"""Lift any 2D vision model to 3D-consistent answers on any posed multi-view scene."""
