"""The 2D models being lifted: one adapter file each, named in catalog.py."""
