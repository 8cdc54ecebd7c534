"""Metrics: joints, rotations, surfaces, segmentation; their names and meanings."""
