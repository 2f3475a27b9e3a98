"""`ullage token`: makes a token, for the gateway or with scopes. It is shown once, and kept
nowhere."""

from __future__ import annotations

import json
import re
import secrets
from datetime import date
from hashlib import sha256
from typing import Any

import click
from click.shell_completion import CompletionItem

from supervisor.config.entrusted import OWN_NAMES, SCOPES, meant
from supervisor.printable import printable

from .asking import WRONG, Trouble, examples

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PREFIX = "ullage-"  # so that whoever finds one knows what it is for
BYTES = 32


class _Scope(click.ParamType[str]):
    """One of the scopes; of another word, which was meant."""

    name = "scope"

    def convert(self, value: str, param: Any, ctx: Any) -> str:
        if value not in SCOPES:
            why = [f"{scope}: {meaning}" for scope, meaning in SCOPES.items()]
            raise Trouble(WRONG, f'--scope: "{printable(value)}" is no scope', why, meant(value))
        return value

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        found = [scope for scope in SCOPES if scope.startswith(incomplete)]
        return [CompletionItem(scope, help=SCOPES[scope]) for scope in found]


@click.command(epilog=examples(
    "ullage token laptop",
    "ullage token ci --model 'qwen3*' --per-minute 60 | sudo tee -a /etc/ullage/ullage.toml",
    "ullage token ci --json | jq -r .token",
    "ullage token desk --scope read --scope gateway",
    "ullage token alertmanager --scope alerts:write --expires 2027-06-30",
))  # fmt: skip
@click.argument("name")
@click.option("--scope", "scopes", metavar="SCOPE", multiple=True, type=_Scope(),
              help=f"All that it may do: {', '.join(SCOPES)}.")  # fmt: skip
@click.option("--model", "models", metavar="MODEL", multiple=True,
              help="A model it may use; * stands for any text.")  # fmt: skip
@click.option("--per-minute", type=click.IntRange(1), help="How often it may ask.")
@click.option("--max-in-flight", type=click.IntRange(1), help="How many requests at once.")
@click.option("--expires", metavar="DAY", help="The last day it is good for, as 2027-06-30.")
@click.option("--json", "as_json", is_flag=True, help="The token and its lines, as JSON.")
def token(
    name: str,
    scopes: tuple[str, ...],
    models: tuple[str, ...],
    per_minute: int | None,
    max_in_flight: int | None,
    expires: str | None,
    as_json: bool,
) -> None:
    """Make a token, and the lines of the configuration that know it.

    It is for the gateway, with limits if you like; with --scope it is for Ullage's own API as far
    as that says, and for nothing else.

    The lines are written to standard output, the token to standard error: it is not kept. The
    daemon knows it as soon as they are in its file, and knows it no more once they are taken out.

    To replace one, make another under another name, put its lines beside the old ones, give the
    token to whoever uses it, and take the old lines out when `ullage status` says that it is in
    use. A token that stands in a file of its own is read again by `ullage config reload`.
    """
    if not _NAME.fullmatch(name):
        right = "a name is letters, digits, dots, dashes and underscores"
        raise Trouble(WRONG, f'"{printable(name)}" is no name for a token', [right])
    if scopes and name in OWN_NAMES:
        why = f"{name} is what callers without such a token are called"
        raise Trouble(WRONG, f'"{name}" is no name for a token', [why], "choose another")
    if expires is not None and not _is_day(expires):
        raise Trouble(
            WRONG, f'--expires: "{printable(expires)}" is not a day', ["write it as 2027-06-30"]
        )
    limits = {"--model": models, "--per-minute": per_minute, "--max-in-flight": max_in_flight}
    given = [option for option, value in limits.items() if value]
    if scopes and given:
        why = "these count for tokens of the gateway alone, which are made without a scope"
        raise Trouble(WRONG, f"--scope and {', '.join(given)} are for different tokens", [why])
    made = PREFIX + secrets.token_urlsafe(BYTES)
    key = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
    lines = [f"[{'listen' if scopes else 'gateway'}.tokens.{key}]"]
    lines.append(f'sha256 = "{sha256(made.encode()).hexdigest()}"')
    if scopes:
        lines.append(f"scopes = {json.dumps(list(dict.fromkeys(scopes)))}")
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


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
