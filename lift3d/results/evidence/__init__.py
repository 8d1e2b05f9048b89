"""Where views agree and where they do not, to be seen: the same spots in several views, and reasons."""
