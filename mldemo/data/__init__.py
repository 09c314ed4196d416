"""Data as fields on the torus: the registry of data sets, files, preparation, statistics."""
