"""`ullage init`: what is on this machine, written down as a configuration."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .asking import FAILED, Trouble, asks, examples, quoted, said
from .client import Client, ClientError

if TYPE_CHECKING:
    from .starter import Memory, Named

PATIENCE = 1.0  # seconds for a daemon that may not run


@click.command(epilog=examples(
    "ullage init && ullage run",
    "ullage init --output -            # shows it, and writes nothing",
    "sudo ullage init --yes --output /etc/ullage/ullage.toml",
))  # fmt: skip
@click.option("--output", metavar="FILE", help="Where to; - shows it. Usual: where `run` looks.")
@click.option("--force", is_flag=True, help="Take the place of a file; that is kept as FILE.bak.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@click.option("--json", "as_json", is_flag=True, help="What was found and written, as JSON.")
@asks(timeout=PATIENCE)
def init(client: Client, output: str | None, force: bool, yes: bool, as_json: bool) -> None:
    """Find the engines and GPUs of this machine, and write a configuration with comments.

    Engines are looked for on the usual ports of this machine alone, by asking each what it is.
    """
    from . import starter

    shown = output == "-"
    place = _place() if output is None else Path(output)
    if not shown and os.path.exists(place) and not force:
        raise _there(place)
    engines, pools, notes = _found(client)
    text = starter.text(engines, pools)
    _check(text)
    next_ = _next(place, shown)
    if as_json:
        if not shown:
            _write(place, text)
        return click.echo(json.dumps(_row(None if shown else place, engines, pools, text, next_)))
    out = shown  # then standard output is the configuration, and nothing else
    for line in _told(engines, pools, notes):
        click.echo(said(line), err=out)
    if shown:
        return click.echo(text, nl=False)
    if not yes and sys.stdin.isatty():
        click.confirm(f"write this to {said(str(place))}?", default=True, abort=True)
    kept = _write(place, text)
    click.echo(said(f"written: {place}" + ("" if kept is None else f"; the old one is {kept}")))
    click.echo("as usual, until you say otherwise: mode enforce, no limits, no timers, on loopback")
    return click.echo("next: " + said(" · ".join(next_)))


def _place() -> Path:
    """Where `run` looks: the file that is named, the system's for root, else the user's own."""
    from supervisor.config.given import SYSTEM, usual_places

    if named := os.environ.get("ULLAGE_CONFIG"):
        return Path(named)
    if _is_root():
        return SYSTEM
    return usual_places(os.environ)[-2]


def _there(place: Path) -> Trouble:
    why = ["what you wrote there is not written over"]
    try_ = f"ullage init --output - · ullage init --force (keeps the old one as {place.name}.bak)"
    return Trouble(FAILED, f"{place} is there already", why, try_)


def _found(client: Client) -> tuple[list[Named], list[Memory], tuple[str, ...]]:
    from . import init_look, starter, symptoms

    engines = init_look.engines(_ours(client))
    machine = symptoms.machine()
    pools = [starter.Memory(*row) for row in symptoms.pools(machine)]
    return starter.named((f.kind, f.url, f.version) for f in engines), pools, machine.notes


def _ours(client: Client) -> tuple[str, ...]:
    """Where the gateway of a daemon listens that runs already: it answers as an engine does."""
    try:
        gateway = client.get("/api/v1/state").document.get("gateway") or {}
    except ClientError:
        return ()
    return tuple(str(a).rstrip("/") for a in gateway.get("addresses", ()))


def _check(text: str) -> None:
    """What is written has to be read: a bug of ours is better found here."""
    import tempfile

    from supervisor.config.config import ConfigError, load
    from supervisor.engines import ENGINES

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ullage.toml"
        file.write_text(text, encoding="utf-8")
        try:
            load(file, {}, {}, kinds=frozenset(ENGINES))
        except ConfigError as error:
            what = "what was found here makes no configuration: please report it"
            raise Trouble(FAILED, what, [str(p) for p in error.problems]) from None


def _write(place: Path, text: str) -> Path | None:
    """Whole or not at all. Returns where the old one is.

    There is no secret in it, and the service reads it as a user of its own, whom no group of root's
    lets in: 0644, less what the umask takes away as from any other file. Root's is the machine's,
    so its folder and itself are open to all however tight root's umask is.
    """
    kept = place.with_name(f"{place.name}.bak") if os.path.exists(place) else None
    new = place.with_name(f".{place.name}.new")
    before = os.umask(0o022) if _is_root() else None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), "w",
                       encoding="utf-8") as file:  # fmt: skip
            file.write(text)
        if kept is not None:
            place.replace(kept)
        new.replace(place)
    except OSError as error:
        why = error.strerror or str(error)
        try_ = "ullage init --output FILE, or run it as a user who may write there"
        raise Trouble(FAILED, f"{place} cannot be written", [why], try_) from None
    finally:
        if before is not None:
            os.umask(before)
    return kept


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _next(place: Path, shown: bool) -> list[str]:
    from supervisor.config.given import usual_places

    if shown:
        return ["ullage init", "ullage run"]
    places = [Path(p).absolute() for p in usual_places(os.environ)]
    first = next((p for p in places if os.path.isfile(p) or p == place.absolute()), None)
    named = os.environ.get("ULLAGE_CONFIG")
    usual = Path(named) == place if named else first == place.absolute()
    run = "ullage run" if usual else f"ullage run --config {quoted(str(place))}"
    return [run, "ullage status", "ullage doctor"]


def _told(engines: list[Named], pools: list[Memory], notes: tuple[str, ...]) -> list[str]:
    from supervisor.core.wording import size

    lines = [f"found: {p.name}, {size(p.total)} ({p.id})" for p in pools]
    for engine in engines:
        lines.append(f"found: {engine.name} at {engine.url}, {engine.version or engine.kind}")
    if not engines:
        lines.append("found no engine on the usual ports; one that starts later is found as well")
    return lines + [f"note:  {note}" for note in notes]


def _row(
    place: Path | None, engines: list[Named], pools: list[Memory], text: str, next_: list[str]
) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "file": None if place is None else str(place),
        "engines": [asdict(e) for e in engines],
        "pools": [asdict(p) for p in pools],
        "config": text,
        "next": next_,
    }
