"""Class-agnostic masks of the surface: views' own 2D masks, merged by how they overlap on its points."""
