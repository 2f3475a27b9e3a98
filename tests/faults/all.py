"""Every fault there is: each module adds its own as it is imported."""

from __future__ import annotations

from tests.faults import (
    alerts_fail,
    children_fail,
    clock_fails,
    disk_fails,
    engines_fail,
    host_fails,
    journal_fails,
    killed,
    limited,
    reader_fails,
    starved,
)
from tests.faults.registry import FAULTS

MODULES = (
    killed,
    engines_fail,
    children_fail,
    host_fails,
    reader_fails,
    disk_fails,
    journal_fails,
    clock_fails,
    starved,
    limited,
    alerts_fail,
)

__all__ = ["FAULTS", "MODULES"]
