"""The surface of a scene, from its views together: estimated once, independent of targets, operators and lifters."""
