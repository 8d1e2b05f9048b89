"""Words and clicks, asked of the points of a lifted scene."""
