"""The line: one file a stage, and ``scene`` that walks a scene along it with its reading and writing."""
