"""Frozen nouns of lift3d: no I/O, no algorithms. Modules are imported by name, so the light ones stay light."""
