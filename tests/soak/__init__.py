"""A thousand scenes, and one in twenty of everything that can go wrong."""
