"""Data sets as fields on the torus."""
