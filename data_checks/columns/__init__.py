"""Derived columns: see `data_checks.columns.derive`."""
