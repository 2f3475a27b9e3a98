"""`ullage token`: makes a token for the gateway. It is shown once, and kept nowhere."""

from __future__ import annotations

import json
import re
import secrets
from hashlib import sha256

import click

from .asking import WRONG, Trouble, examples

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PREFIX = "ullage-"  # so that whoever finds one knows what it is for
BYTES = 32


@click.command(epilog=examples(
    "ullage token laptop",
    "ullage token ci --model 'qwen3*' --per-minute 60 | sudo tee -a /etc/ullage/ullage.toml",
    "ullage token ci --json | jq -r .token",
))  # fmt: skip
@click.argument("name")
@click.option("--model", "models", metavar="MODEL", multiple=True,
              help="A model it may use; * stands for any text.")  # fmt: skip
@click.option("--per-minute", type=click.IntRange(1), help="How often it may ask.")
@click.option("--max-in-flight", type=click.IntRange(1), help="How many requests at once.")
@click.option("--expires", metavar="DAY", help="The last day it is good for, as 2027-06-30.")
@click.option("--json", "as_json", is_flag=True, help="The token and its lines, as JSON.")
def token(
    name: str,
    models: tuple[str, ...],
    per_minute: int | None,
    max_in_flight: int | None,
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a token for the gateway, and the lines of the configuration that know it.

    The lines are written to standard output, the token to standard error: it is not kept. The
    daemon reads the configuration when it starts.
    """
    if not _NAME.fullmatch(name):
        right = "a name is letters, digits, dots, dashes and underscores"
        raise Trouble(WRONG, f"{name!r} is no name for a token", [right])
    if expires is not None and not re.fullmatch(r"\d{4}-\d{2}-\d{2}", expires):
        raise Trouble(WRONG, f"--expires: {expires!r} is not a day", ["write it as 2027-06-30"])
    made = PREFIX + secrets.token_urlsafe(BYTES)
    key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
    lines = [f"[gateway.tokens.{key}]", f'sha256 = "{sha256(made.encode()).hexdigest()}"']
    if models:
        lines.append(f"models = {json.dumps(list(models), ensure_ascii=False)}")
    lines += [] if per_minute is None else [f"per_minute = {per_minute}"]
    lines += [] if max_in_flight is None else [f"max_in_flight = {max_in_flight}"]
    lines += [] if expires is None else [f"expires = {expires}"]
    stanza = "\n".join(lines) + "\n"
    if as_json:
        return click.echo(json.dumps({"name": name, "token": made, "config": stanza}))
    click.echo(f"\n{stanza}", nl=False)  # it may be added to a file that has no last line's end
    return click.echo(f"\nthe token, which is not shown again: {made}", err=True)
