"""Videos along paths through a lifted scene."""
