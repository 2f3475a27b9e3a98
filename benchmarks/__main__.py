"""`python -m benchmarks [NAME …]`: planning, status, owning, sampling, scraping, at_rest. Prints
one table; medians, and of a look at the machine the mean. Those of OWN have tables of their own."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from . import (
    at_rest,
    crowd,
    fleet,
    fleet_gateway,
    gateway,
    owning,
    planning,
    policy,
    sampling,
    scraping,
    status,
    swap,
)

Rows = list[tuple[str, str, str]]

MEASURES: dict[str, tuple[Callable[[], Rows], str]] = {
    "planning": (planning.rows, "plan weighed from scratch at each try"),
    "status": (status.rows, "a Python that does nothing"),
    "owning": (owning.rows, "a thread of the daemon"),
    "sampling": (sampling.rows, ""),
    "scraping": (scraping.rows, "a loop that does nothing"),
    "at_rest": (at_rest.rows, "a bare poller of the same engine"),
}

OWN = {
    "policy": policy.main,
    "gateway": gateway.main,
    "crowd": crowd.main,
    "swap": swap.main,
    "fleet": fleet.main,
    "fleet-gateway": fleet_gateway.main,
}


def main(names: list[str]) -> int:
    if names and names[0] in OWN:
        return OWN[names[0]](names[1:])
    unknown = [n for n in names if n not in MEASURES]
    if unknown:
        known = ", ".join((*MEASURES, *OWN))
        print(f"no such benchmark: {', '.join(unknown)}; there are {known}", file=sys.stderr)
        return 2
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    table = Table(title=f"{where}, Python {platform.python_version()}", title_justify="left")
    for heading in ("measured", "Ullage", "beside it, in the same run"):
        table.add_column(heading)
    for name in names or MEASURES:
        rows, beside = MEASURES[name]
        for what, figure, other in rows():
            table.add_row(what, figure, f"{other} ({beside})" if other and beside else other)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
