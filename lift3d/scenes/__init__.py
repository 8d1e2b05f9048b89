"""Readers of posed scenes: files in, cameras and references to pixels out; nothing is decoded yet."""
