"""The score table: its schema, and what is read off it."""
