"""Photographs and videos become posed scenes."""
