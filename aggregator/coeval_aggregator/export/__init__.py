"""A stored session as files that other programs read."""
