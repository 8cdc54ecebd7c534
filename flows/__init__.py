"""Prefect flows and what they call: the retraining loop."""
