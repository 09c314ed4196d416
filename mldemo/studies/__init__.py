"""Studies: one file an experiment; each writes one JSON record that page and README read."""
