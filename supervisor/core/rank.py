"""Who goes first. One tuple: readable, total, the same on every run."""

from __future__ import annotations

from .snapshot import Resident


def rank(resident: Resident) -> tuple[bool, float, str, str]:
    """Smallest goes first: the idle before the busy, then the longest idle, then by name."""
    return (resident.busy, -resident.idle_for, resident.model, resident.engine)
