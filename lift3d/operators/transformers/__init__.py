"""Models of the transformers library that answer with maps."""
