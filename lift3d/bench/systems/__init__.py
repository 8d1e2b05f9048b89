"""What systems of the field do on a lifted scene, measured here: a part of ``lift3d bench systems`` is a module."""
