"""Scoring of predictions files: truth, per-sample scores, summaries, comparison."""
