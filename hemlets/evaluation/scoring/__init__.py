"""Scoring of a predictions file: truth, per-sample scores, summaries, comparison."""
