"""`python -m tests.load.storms [--seed N] [--only slow,alerts,bodies]`: clients by the hundred that
never say a whole request, alerts by the thousand, and bodies that are meant to take memory. Prints
a table, exits with 1 where anything did not hold.

Beside each storm of clients the same good traffic as before it: what it costs them is measured in
one run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from supervisor.app import more_files
from tests.daemon import Daemon
from tests.nvml.fake_nvml import build, compiler

from .clients import Crowd
from .found import Found
from .machine import Machine
from .storm_alerts import many_alerts
from .storm_bodies import LINES, big_bodies
from .storm_slow import slow_clients

ALL = ("slow", "alerts", "bodies")


async def storms(folder: Path, library: Path, seed: int, only: tuple[str, ...] = ALL) -> Found:
    found = Found()
    async with Machine(folder, engines=4, models=4) as machine:
        state = folder / "s"
        state.mkdir()
        machine.learned(state / "journal.db")
        env = machine.cards.driver.env(library)
        async with Daemon(state, machine.config(LINES), env) as daemon:
            gateway = (await daemon.state())["gateway"]["addresses"][0]
            if "bodies" in only:  # first: what memory others have left it, it has no need to take
                await big_bodies(daemon, gateway, found)
            if "slow" in only:
                hot = [engine.models[0] for engine in machine.engines]
                crowd = Crowd(gateway, hot, hot, 4, seed)
                await slow_clients(daemon, crowd, gateway, found)
            if "alerts" in only:
                await many_alerts(daemon, machine, seed, found)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.load.storms", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default=",".join(ALL), help="which of them")
    asked = parser.parse_args()
    if sys.platform != "linux" or compiler() is None:
        print("the stand-in driver needs Linux and a C compiler", file=sys.stderr)
        return 2
    more_files()
    with tempfile.TemporaryDirectory(prefix="ullage-storms-") as own:
        folder = Path(own)
        only = tuple(asked.only.split(","))
        found = uvloop.run(storms(folder, build(folder), asked.seed, only))
    show(found, Console(width=None if sys.stdout.isatty() else 160))
    return 0 if found.held() else 1


def show(found: Found, console: Console) -> None:
    table = Table("measured", "", title="storms", title_justify="left")
    for what, figure in found.table:
        table.add_row(what, figure)
    console.print(table)
    judged = Table("", "holds", "said", title="what must hold", title_justify="left")
    for verdict in found.verdicts:
        judged.add_row(verdict.what, "yes" if verdict.ok else "NO", verdict.said)
    console.print(judged)


if __name__ == "__main__":
    raise SystemExit(main())
