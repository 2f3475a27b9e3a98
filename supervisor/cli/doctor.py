"""`ullage doctor`: what works against us, and what to set. With a daemon and without."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from supervisor import __version__

from .asking import DEGRADED, asks, examples, said
from .client import Client, ClientError, NoDaemon

if TYPE_CHECKING:
    from .checkup import Check, Engine, File

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
    from time import time

    from supervisor.cli import token_checks

    from .checkup import Check, Facts, Status, checkup

    try:
        state = client.get("/api/v1/state").document
    except NoDaemon as error:
        if client.given:
            raise
        what = "none runs here; this is what can be seen without one"
        facts, advice = _without()
        files, fleet = facts.pop("token_files"), facts.pop("fleet")
        found = [*checkup(Facts(**facts)), *token_checks.examine((), time(), 0.0, files), *fleet]
        about = [Check("daemon", Status.OK, f"{what} ({error.why})")]
        return [*about, *found, *advice]
    advice = [
        Check(a["about"], Status.WARN, a["what"], a["remedy"])
        for a in client.get("/api/v1/doctor").document["advice"]
    ]
    rows = (state.get("callers") or {"tokens": []})["tokens"]  # an older daemon has none
    if client.is_here:
        facts = _beside(client, state)
        files, fleet = facts.pop("token_files"), facts.pop("fleet")
        tokens = token_checks.examine(rows, state["now"], state["uptime"], files)
        return [*checkup(Facts(**facts)), *tokens, *fleet, *advice]
    what = "the daemon is on another machine; run it there to look at that one"
    found = checkup(Facts(**_of_daemon(state)))
    found += token_checks.examine(rows, state["now"], state["uptime"])
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
        "meant_to_persist": state["journal"].get("meant_to_persist", True),
        "failures": state["journal"]["failures"],
    }


def _of_alerts(
    settings: Mapping[str, tuple[str, str]], now: float, state: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What alerts may do and who may send them, by the settings; `state`: what a daemon tells."""
    from supervisor.config.given import path_of

    from .checkup import Alerts

    paths = [path_of(key) for key in settings]
    actions = tuple(p[2] for p in paths if p[:2] == ("alerts", "actions") and p[3] == "action")
    said = {path_of(key): value for key, (value, _) in settings.items()}
    named = {p[2] for p in paths if p[:2] == ("listen", "tokens")}
    scopes = {name: said.get(("listen", "tokens", name, "scopes"), "alerts:") for name in named}
    tokens = {name: None for name, may in scopes.items() if "alerts:" in may}
    callers: Mapping[str, Any] = (state or {}).get("callers") or {"tokens": []}  # an older daemon
    tokens |= {t["name"]: t["expires"] for t in callers["tokens"] if "alerts:" in str(t["scopes"])}
    return {"alerts": Alerts(now, actions, tokens, callers.get("alert_refused_at"))}


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
        **_of_alerts(settings, state["now"], state),
        "holders": symptoms.holders_of(machine),
        "reserve": ram.get("reserve"),
        "steps": _steps(client),
        "engines": tuple(_engines(state["engines"], settings)),
    }


def _without() -> tuple[dict[str, Any], list[Check]]:
    """Without a daemon: what it would read, if it were started here and now."""
    from time import time

    from collectors.reading import RAM
    from supervisor.config.config import ConfigError, effective, load
    from supervisor.engines import ENGINES
    from supervisor.units import parse_amount

    from . import init_look, symptoms
    from .checkup import Check, Status

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
        **_of_alerts(settings, time()),
        **symptoms.of_machine(machine),
        "mistakes": mistakes,
        "version": __version__,
        "engines": tuple(symptoms.traced(_engines(rows, settings))),
    }
    ram = next((p for p in machine.pools if p.id == RAM), None)
    if ram is not None and (said := settings.get("pools.ram.reserve")):
        facts["reserve"] = parse_amount(said[0]).of(ram.total)
    advice = [Check(a.about, Status.WARN, a.what, a.remedy) for a in habits]
    return facts, advice


def _of_settings(settings: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    from pathlib import Path

    from supervisor.units import UnitError, parse_duration

    from . import fleet_checks, symptoms

    found: dict[str, Any] = {
        "token_files": tuple(_token_files(settings)),
        "fleet": fleet_checks.examine(settings),
    }
    sources = {source for _, source in settings.values() if source.startswith("file ")}
    for source in sources:
        found["config"] = symptoms.config_file(source.removeprefix("file "))
    if "state_dir" in settings:
        found |= symptoms.of_folder(Path(settings["state_dir"][0]))
    if "listen.host" in settings:
        found["host"] = settings["listen.host"][0]
        found["tls"] = settings.get("listen.tls_cert", ("none", ""))[0] != "none"
        found |= _of_tokens(settings)
    if "relief_grace" in settings:
        with suppress(UnitError):
            found["grace"] = parse_duration(settings["relief_grace"][0])
    return found


def _of_tokens(settings: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """Does whoever asks the API need a token, and which may do everything?"""
    from supervisor.config.entrusted import ADMIN, CLOSING
    from supervisor.config.given import path_of

    main = settings.get("listen.token", ("not set", ""))[0] == "set"
    scopes = {
        path[2]: set(text.split(", "))
        for key, (text, _) in settings.items()
        if (path := path_of(key))[:2] == ("listen", "tokens") and path[-1] == "scopes"
    }
    admins = tuple(name for name, may in scopes.items() if ADMIN in may)
    closed = main or any(may & CLOSING for may in scopes.values())
    return {"token": closed, "mighty": ("that of listen.token", *admins) if main else admins}


def _token_files(settings: Mapping[str, tuple[str, str]]) -> Iterable[File]:
    """Those that hold a token and can be looked at from here."""
    from supervisor.config.given import path_of

    from . import symptoms

    for key, (value, _) in settings.items():
        path = path_of(key)
        if path[0] != "listen" or path[-1] != "token_file":
            continue
        if (found := symptoms.file(value, secret=True)) is not None:
            yield found


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
