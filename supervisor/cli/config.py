"""`ullage config`: the configuration file, checked and shown without a daemon, or read by one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supervisor.printable import printable

from .asking import INVALID, Trouble, asks, examples, quoted, said
from .client import Client, Refused
from .commands import Named

if TYPE_CHECKING:
    from supervisor.config.config import Config, ConfigError

API = "/api/v1/config"
AT = click.Path(path_type=Path)


@click.group(cls=Named, epilog=examples(
    "ullage config check ullage.toml",
    "ullage config show --changed",
    "ullage config reload --dry-run",
    "ullage config schema > ullage.schema.json",
))  # fmt: skip
def config() -> None:
    """Check the configuration file, show what comes of it, have it read."""


@config.command("check")
@click.argument("file", required=False, type=AT)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def check(file: Path | None, as_json: bool) -> None:
    """Say whether FILE is good, with all its mistakes. Needs no daemon.

    Without FILE it is the one that `ullage run` would take. Variables count as they do there.
    """
    from supervisor.config.config import ConfigError

    try:
        found = loaded(file)
        _see_certificates(found)
    except ConfigError as error:
        if not as_json:
            raise mistaken(file, error) from None
        rows = [{"key": p.key, "message": p.message, "where": p.where} for p in error.problems]
        click.echo(json.dumps({"ok": False, "mistakes": rows}, indent=1))
        click.get_current_context().exit(INVALID)
    if as_json:
        return click.echo(json.dumps({"ok": True, "file": _file(found), "mistakes": []}, indent=1))
    count = sum(source != "default" for source in found.sources.values())
    parts = [f"{count} setting{'' if count == 1 else 's'}"]
    parts += [f"{len(found.engines)} engine{'' if len(found.engines) == 1 else 's'}"]
    name = _file(found)
    what = "without a file" if name is None else f"{printable(name)} is good"
    return click.echo(f"{what}: {', '.join(parts)}; the rest is as usual")


@config.command("show")
@click.argument("file", required=False, type=AT)
@click.option("--changed", is_flag=True, help="Only what is not as usual.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show(file: Path | None, changed: bool, as_json: bool) -> None:
    """Print what a daemon would have in force that started here and now, and whence each is.

    What one that runs has in force is told by `ullage settings get`.
    """
    from supervisor.config.config import ConfigError, effective

    try:
        found = loaded(file)
    except ConfigError as error:
        raise mistaken(file, error) from None
    rows = [
        {"key": key, "value": value, "source": source}
        for key, value, source in effective(found)
        if not changed or source != "default"
    ]
    if as_json:
        return click.echo(json.dumps({"file": _file(found), "settings": rows}, indent=1))
    width = max((len(row["key"]) for row in rows), default=0)
    for row in rows:
        source = "" if row["source"] == "default" else f"  ({row['source']})"
        click.echo(printable(f"{row['key']:<{width}} = {row['value']}{source}"))
    if not rows:
        click.echo("everything is as usual", err=True)
    return None


@config.command("reload")
@click.option("--apply-now", is_flag=True, help="Its limits hold for those who are loaded, too.")
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def reload(client: Client, apply_now: bool, dry_run: bool, as_json: bool) -> None:
    """Have the daemon read its file at once. It does so by itself when the file changes."""
    try:
        answer = client.post(f"{API}/reload", apply_now=apply_now, dry_run=dry_run)
    except Refused as error:
        mistakes = error.problem.get("errors")
        if error.status != 422 or not isinstance(mistakes, list):
            raise
        file = client.get(API).document["file"]
        try_ = "ullage config check" + (f" {quoted(file)}" if file else "")
        raise Trouble(INVALID, error.what, map(str, mistakes), try_) from None
    if as_json:
        return click.echo(answer.text)
    found = answer.document
    file = found["file"] or "no configuration file"
    does = "would change nothing" if dry_run else "nothing has changed"
    lines = [said(line) for line in found["sentences"]] or [f"{said(file)}: {does}"]
    click.echo("\n".join(lines))
    if found["now"] and not apply_now:
        click.echo("to apply it at once: ullage config reload --apply-now")
    return None


@config.command("schema")
def schema() -> None:
    """Print the JSON Schema of the file, by which editors complete and check it.

    Its first line says where that is: `#:schema ./ullage.schema.json`.
    """
    from supervisor.config.file_schema import text
    from supervisor.engines import ENGINES

    click.echo(text(ENGINES), nl=False)


def loaded(file: Path | None) -> Config:
    """What a daemon would be configured by that started here and now. Raises ConfigError."""
    from supervisor.config.config import load
    from supervisor.engines import ENGINES

    return load(file, os.environ, {}, kinds=frozenset(ENGINES))


def _see_certificates(found: Config) -> None:
    """A daemon starts with one that is over, for the rest of its work; whoever asks is told."""
    from supervisor.config.given import ConfigError, Problem
    from supervisor.tls.certificates import CERT, Certificate

    wrong = []
    for table, part in (("listen", found), ("gateway", found.gateway)):
        served = Certificate.of(table, part.tls_cert, part.tls_key)
        if served is None:
            continue
        served.load()
        if served.ended:
            at = (table, CERT)
            wrong.append(Problem(".".join(at), f"{served.trouble}; renew it", found.place(at)))
        elif served.trouble is not None:
            click.echo(f"note: {table}.{CERT}: {served.trouble}", err=True)
    if wrong:
        raise ConfigError(wrong)


def _file(found: Config) -> str | None:
    return None if found.stamp is None else str(found.looked[0])


def mistaken(file: Path | None, error: ConfigError, then: str = "ullage config show") -> Trouble:
    """Every mistake, by where it stands. `then`: what to try where there is no FILE to check."""
    problems = sorted(error.problems, key=lambda p: _place(p.where))
    count = len(problems)
    name = "the configuration" if file is None else printable(file)
    what = f"{name} has {count} mistake{'' if count == 1 else 's'}"
    lines = [f"{p.where + ': ' if p.where else ''}{p.key}: {p.message}" for p in problems]
    shown = then if file is None else f"ullage config check {quoted(str(file))}"
    return Trouble(INVALID, what, lines, f"mend {'it' if count == 1 else 'them'}, then {shown}")


def _place(where: str) -> tuple[str, int]:
    file, _, line = where.rpartition(":")
    return (file, int(line)) if line.isdecimal() else (where, 0)
