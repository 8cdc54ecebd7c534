"""Data versions: ingest of a dataset, combination of several, differences between two."""
