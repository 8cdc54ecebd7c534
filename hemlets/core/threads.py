"""Waiting policy of numerical libraries' threads."""

from __future__ import annotations

import os


def wait_without_spinning() -> None:
    """Have OpenMP's threads sleep at barriers, unless the environment says otherwise.

    By default they spin. Where another program takes one of the cores, each barrier then lasts as
    long as the scheduler's time slice: on a busy machine with two cores a prediction with two
    threads took 1,278 ms, and 95 ms with threads that sleep. Only the time changes, no result.

    Call this before torch is imported: OpenMP reads the variable once, when it is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
