"""Servers on loopback, the doctor, and what both need."""
