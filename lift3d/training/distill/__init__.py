"""A network of 3D that learns from what 2D models say of one scene's surface, and whichever of the two knows better."""
