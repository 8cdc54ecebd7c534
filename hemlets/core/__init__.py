"""Foundations of all packages: skeleton, settings, errors, files, processes."""
