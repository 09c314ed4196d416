"""Studies: one module per experiment; each writes one JSON record, which the page shows."""
