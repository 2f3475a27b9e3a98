"""`ullage doctor`: what works against us, and what to set. With a daemon and without."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from . import __version__
from .asking import DEGRADED, asks, examples, said
from .client import Client, ClientError, NoDaemon

if TYPE_CHECKING:
    from .checkup import Check, Engine

PATIENCE = 30.0  # seconds; each engine is asked what it does of its own accord
STEPS = "ullage_clock_steps_total"
MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("fail", "red")}


@click.command(epilog=examples(
    "ullage doctor",
    "ullage doctor --quiet || ullage doctor --json | jq -r '.checks[].remedy'",
))  # fmt: skip
@click.option("-q", "--quiet", is_flag=True, help="Only what is not as it should be.")
@click.option("--json", "as_json", is_flag=True, help="Every check, as JSON.")
@asks(PATIENCE)
def doctor(client: Client, quiet: bool, as_json: bool) -> None:
    """Say what works against us, and what to set. Exit code 8: something is to be done.

    Looks at engines, drivers, processes, addresses, clocks, files and limits of this machine. Where
    no daemon answers, at all that can be seen without one.
    """
    checks = _checks(client)
    rows = [_row(c) for c in checks]
    wrong = sum(row["status"] != "ok" for row in rows)
    if as_json:
        click.echo(json.dumps({"ok": not wrong, "checks": rows}))
    else:
        for row in rows:
            if row["status"] != "ok" or not quiet:
                _say(row)
        if wrong:
            click.echo(f"{wrong} thing{'s' if wrong > 1 else ''} to do")
        elif not quiet:
            click.echo("all is well")
    click.get_current_context().exit(DEGRADED if wrong else 0)


def _row(check: Check) -> dict[str, Any]:
    return {"about": check.about, "status": check.status.value, "what": check.what,
            "remedy": check.remedy}  # fmt: skip


def _say(row: Mapping[str, Any]) -> None:
    mark, colour = MARKS[row["status"]]
    colours = False if os.environ.get("NO_COLOR") else None
    click.secho(mark, fg=colour, nl=False, color=colours)
    click.echo(f"  {said(row['about'])}: {said(row['what'])}")
    if row["remedy"]:
        click.echo(f"      to do: {said(row['remedy'])}")


def _checks(client: Client) -> list[Check]:
    """Of the daemon and its machine, or of this machine alone."""
    from .checkup import Check, Facts, Status, checkup

    try:
        state = client.get("/api/v1/state").document
    except NoDaemon as error:
        if client.given:
            raise
        what = "none runs here; this is what can be seen without one"
        facts, advice = _without()
        found = checkup(Facts(**facts))
        about = [Check("daemon", Status.OK, f"{what} ({error.why})")]
        return [*about, *found, *advice]
    advice = [
        Check(a["about"], Status.WARN, a["what"], a["remedy"])
        for a in client.get("/api/v1/doctor").document["advice"]
    ]
    if client.is_here:
        return [*checkup(Facts(**_beside(client, state))), *advice]
    what = "the daemon is on another machine; run it there to look at that one"
    found = checkup(Facts(**_of_daemon(state)))
    return [Check("machine", Status.OK, what), *found, *advice]


def _of_daemon(state: Mapping[str, Any]) -> dict[str, Any]:
    """What the daemon alone tells, wherever it is."""
    return {
        "version": __version__,
        "daemon": state["version"],
        "gpus": tuple(d["name"] for d in state["devices"] if d["kind"] == "gpu"),
        "notes": tuple(state["notes"]),
        "faults": {p["id"]: p["blind"] for p in state["pools"] if p["blind"] is not None},
        "persistent": state["journal"].get("persistent"),
        "failures": state["journal"]["failures"],
    }


def _beside(client: Client, state: Mapping[str, Any]) -> dict[str, Any]:
    """With a daemon on this machine: what it tells, and what can be seen of it from here."""
    from . import symptoms

    rows = client.get("/api/v1/settings").document["settings"]
    settings = {r["key"]: (str(r["value"]), str(r["source"])) for r in rows}
    machine = symptoms.machine()
    ram: Mapping[str, Any] = next((p for p in state["pools"] if p["id"] == "ram"), {})
    return {
        **symptoms.of_host(port=client.port),
        **_of_settings(settings),
        **_of_daemon(state),
        "holders": symptoms.holders_of(machine),
        "reserve": ram.get("reserve"),
        "steps": _steps(client),
        "engines": tuple(_engines(state["engines"], settings)),
    }


def _without() -> tuple[dict[str, Any], list[Check]]:
    """Without a daemon: what it would read, if it were started here and now."""
    from collectors.reading import RAM

    from . import init_look, symptoms
    from .checkup import Check, Status
    from .config import ConfigError, effective, load
    from .engines import ENGINES
    from .units import parse_amount

    settings: dict[str, tuple[str, str]] = {}
    mistakes: tuple[str, ...] = ()
    try:
        config = load(None, os.environ, {}, kinds=frozenset(ENGINES))
        settings = {key: (value, source) for key, value, source in effective(config)}
    except ConfigError as error:
        mistakes = tuple(str(p) for p in error.problems)
    machine = symptoms.machine()
    found, habits = init_look.engines_and_habits()
    rows = [{"id": f.kind, "kind": f.kind, "url": f.url} for f in found]
    facts = {
        **symptoms.of_host(),
        **_of_settings(settings),
        **symptoms.of_machine(machine),
        "mistakes": mistakes,
        "version": __version__,
        "engines": tuple(_engines(rows, settings)),
    }
    ram = next((p for p in machine.pools if p.id == RAM), None)
    if ram is not None and (said := settings.get("pools.ram.reserve")):
        facts["reserve"] = parse_amount(said[0]).of(ram.total)
    advice = [Check(a.about, Status.WARN, a.what, a.remedy) for a in habits]
    return facts, advice


def _of_settings(settings: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    from pathlib import Path

    from . import symptoms
    from .units import UnitError, parse_duration

    found: dict[str, Any] = {}
    sources = {source for _, source in settings.values() if source.startswith("file ")}
    for source in sources:
        found["config"] = symptoms.config_file(source.removeprefix("file "))
    if "state_dir" in settings:
        found |= symptoms.of_folder(Path(settings["state_dir"][0]))
    if "listen.host" in settings:
        found["host"] = settings["listen.host"][0]
        found["token"] = settings.get("listen.token", ("not set", ""))[0] == "set"
    if "relief_grace" in settings:
        with suppress(UnitError):
            found["grace"] = parse_duration(settings["relief_grace"][0])
    return found


def _engines(
    rows: Iterable[Mapping[str, Any]], settings: Mapping[str, tuple[str, str]]
) -> Iterable[Engine]:
    """Those that are on this machine."""
    from urllib.parse import urlsplit

    from .checkup import Engine, is_loopback

    for row in rows:
        parts = urlsplit(str(row["url"]))
        if parts.port is not None and is_loopback(parts.hostname or ""):
            key = settings.get(f"engines.{row['id']}.key", ("", ""))[0]
            yield Engine(row["id"], row["kind"], parts.port, key == "set")


def _steps(client: Client) -> int | None:
    """How often the clock was set, of the daemon's metrics."""
    page = client.stream("/metrics", 5.0, {}, {"Accept": "text/plain"})
    with suppress(ClientError, OSError, ValueError), page as lines:
        for line in lines:
            if line.startswith(STEPS.encode() + b" "):
                return int(float(line.split()[1]))
    return None
