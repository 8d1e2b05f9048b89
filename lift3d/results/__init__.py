"""What was lifted, as objects that draw and convert: pictures, clouds, videos, files for other tools."""
