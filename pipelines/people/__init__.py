"""A recording of two people in one file -> who speaks when, and who is where in the picture."""
