"""The steps of a retraining, from ingest to promotion."""
