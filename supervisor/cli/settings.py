"""`ullage settings`: what is in force, changed while the daemon runs, and taken back."""

from __future__ import annotations

from urllib.parse import quote

import click

from supervisor.printable import printable

from .asking import REFUSED, Trouble, asks, examples, quoted, said, word
from .client import Answer, Client, Refused
from .commands import Named

API = "/api/v1/settings"
APPLY = "Its limits hold for those, too, who are loaded already."


@click.group(cls=Named, epilog=examples(
    "ullage settings get",
    "ullage settings set single_model_mode true",
    "ullage settings set max_active_backends 2 --apply-now",
    "ullage settings unset max_active_backends",
))  # fmt: skip
def settings() -> None:
    """Show the settings, and change them while the daemon runs."""


@settings.command("get")
@click.argument("key", required=False)
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def get(client: Client, key: str | None, as_json: bool) -> None:
    """Print a setting, or all of them, and whence each is."""
    answer = client.get(API if key is None else _at(key))
    if as_json:
        return click.echo(answer.text)
    rows = [answer.document] if key is not None else answer.document["settings"]
    width = max(len(row["key"]) for row in rows)
    for row in rows:
        source = "" if row["source"] == "default" else f"  ({row['source']})"
        click.echo(printable(f"{row['key']:<{width}} = {row['value']}{source}"))
    for name, why in answer.document.get("set_aside", {}).items():
        click.echo(printable(f"{name} is not in force as it was set: {why}"), err=True)
    return None


@settings.command("set")
@click.argument("key")
@click.argument("value")
@click.option("--apply-now", is_flag=True, help=APPLY)
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def set_(
    client: Client, key: str, value: str, apply_now: bool, dry_run: bool, as_json: bool
) -> None:
    """Change a setting, until it is unset: also for daemons to come."""
    try:
        answer = client.put(_at(key), value=value, apply_now=apply_now, dry_run=dry_run)
    except Refused as error:
        raise _trouble(error) from None
    _tell(answer, as_json, f"ullage settings set --apply-now {word(key)} {quoted(value)}")


@settings.command("unset")
@click.argument("key")
@click.option("--apply-now", is_flag=True, help=APPLY)
@click.option("--dry-run", is_flag=True, help="Only say what it would do.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def unset(client: Client, key: str, apply_now: bool, dry_run: bool, as_json: bool) -> None:
    """Take a change back: it is again as the configuration has it."""
    given = {"apply_now": apply_now, "dry_run": dry_run}
    query = {name: "true" for name, on in given.items() if on}
    try:
        answer = client.delete(_at(key), **query)
    except Refused as error:
        raise _trouble(error) from None
    again = f"ullage settings unset --apply-now {word(key)}"
    _tell(answer, as_json, again if dry_run else "ullage config reload --apply-now")


def _at(key: str) -> str:
    return f"{API}/{quote(key, safe='', errors='surrogateescape')}"


def _trouble(error: Refused) -> Trouble | Refused:
    found = error.problem.get("errors")
    if error.status != 422 or not isinstance(found, list):
        return error
    return Trouble(REFUSED, error.what, map(str, found), "ullage settings get")


def _tell(answer: Answer, as_json: bool, apply: str) -> None:
    """`apply` is the command by which its limits hold for those, too, who are loaded."""
    if as_json:
        return click.echo(answer.text)
    found = answer.document
    for line in found["sentences"]:
        click.echo(said(line))
    if found["now"] and not found["apply_now"]:
        click.echo(f"to apply it at once: {apply}")
    return None
