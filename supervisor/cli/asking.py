"""How a command asks the daemon: where it is, names for TAB, and what trouble looks like."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

from supervisor.printable import printable

from .client import TIMEOUT, Answer, Client

# Exit codes: failed, wrong usage, configuration invalid, no daemon, refused by policy, not found,
# no answer in time, something is to be done (`ullage doctor`), not allowed.
FAILED, WRONG, INVALID, NO_DAEMON, REFUSED, UNKNOWN, LATE, DEGRADED, DENIED = range(1, 10)

# Who is busy is waited for, and memory takes its time to come back; a load may take minutes.
EVICT_TIMEOUT = 300.0
LOAD_TIMEOUT = 900.0
COMPLETION_TIMEOUT = 0.3

WHERE = ("url", "socket", "token_file", "cafile", "timeout")
_UUID = re.compile(r"\b((?:GPU|MIG)-[0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class Trouble(click.ClickException):
    """What happened, why, what to try: three lines on standard error."""

    def __init__(self, code: int, what: str, why: Iterable[str] = (), try_: str = "") -> None:
        super().__init__(what)
        self.exit_code = code  # type: ignore[misc]  # click declares it for the class, reads it here
        self.why, self.try_ = [w for w in why if w], try_

    def show(self, file: IO[Any] | None = None) -> None:
        colour = False if os.environ.get("NO_COLOR") else None
        click.secho("error: ", err=True, nl=False, fg="red", bold=True, color=colour)
        click.echo(said(self.message), err=True)
        for i, line in enumerate(self.why):
            click.echo(f"  {'     ' if i else 'why: '}{said(line)}", err=True)
        if self.try_:
            click.echo(f"  try: {said(self.try_)}", err=True)


def said(text: object) -> str:
    """What the daemon says, safe for a terminal. Of a GPU's id the beginning: any command takes
    that for the whole."""
    return _UUID.sub(r"\1", printable(text))


def draw(text: str) -> None:
    """A page: whether it has colours was decided when it was drawn."""
    click.echo(text, nl=False, color=True)


def tell(answer: Answer, as_json: bool, nothing: str = "nothing would have to be done") -> None:
    """An answer's sentences, one a line, or the answer as it is."""
    lines = [answer.text] if as_json else [said(s) for s in answer.document["sentences"]]
    click.echo("\n".join(lines or [nothing]))


def only_one(given: dict[str, object], pool: str | None = None, free: str | None = None) -> None:
    """Refuses a wish that says nothing, or two things."""
    named = [name for name, value in given.items() if value]
    if len(named) != 1:
        raise click.UsageError(f"say one of {', '.join(given)}")
    if pool and not free:
        raise click.UsageError("--pool goes with --free")


def examples(*lines: str) -> str:
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def quoted(name: str) -> str:
    """A model's name as a shell takes it: it may have spaces."""
    return shlex.quote(printable(name))


def word(name: str) -> str:
    """The same as the last word of a command: it may look like an option, too."""
    return f"-- {quoted(name)}" if name.startswith("-") else quoted(name)


# -- where the daemon is


def address(hidden: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    options = (
        click.option("--url", help="The daemon's address: http[s]://HOST:PORT or unix:/PATH.",
                     metavar="URL", hidden=hidden),
        click.option("--socket", help="The daemon's Unix socket.",
                     metavar="PATH", hidden=hidden),
        click.option("--token-file", help="A file that holds the daemon's token.",
                     metavar="FILE", hidden=hidden),
        click.option("--cafile", help="A file with the certificate that its own is issued by.",
                     metavar="FILE", hidden=hidden),
        click.option("--timeout", help="How long to wait for an answer, as 30s or 5m.",
                     metavar="TIME", hidden=hidden),
    )  # fmt: skip

    def around(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return around


def asks(timeout: float = TIMEOUT) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command its Client, and the options that say where the daemon is."""

    def around(command: Callable[..., None]) -> Callable[..., None]:
        @address(hidden=True)
        @click.pass_context
        @wraps(command)
        def inner(ctx: click.Context, /, **given: Any) -> None:
            own = {k: given.pop(k) for k in WHERE}
            client = _client(ctx, own, timeout)
            try:
                command(client=client, **given)
            except KeyError as missing:
                what = f"the daemon's answer has no {missing}"
                raise Trouble(
                    FAILED, what, ["it is of another version"], "ullage version"
                ) from None

        return inner

    return around


def _client(ctx: click.Context, own: dict[str, str | None], timeout: float) -> Client:
    """What is said after the command counts more than what is said before it."""
    root = ctx.find_root().params
    where = own if own["url"] or own["socket"] else root
    token_file = own["token_file"] or root.get("token_file")
    token = None
    if token_file:
        try:
            token = Path(token_file).read_text().strip()
        except (OSError, ValueError) as error:
            raise Trouble(WRONG, f"{token_file} cannot be read", [str(error)]) from None
    wait = own["timeout"] or root.get("timeout")
    if wait:
        from supervisor.units import UnitError, parse_duration

        try:
            timeout = parse_duration(wait)
        except UnitError as error:
            raise Trouble(WRONG, f"--timeout: {error}") from None
    cafile = own["cafile"] or root.get("cafile")
    return Client(where.get("url"), where.get("socket"), token, timeout, cafile)


def names(kind: str) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    """Completes names of models: "models" are loaded, "installed" could be, "pins" are pinned; or
    of "engines"."""

    def complete(
        ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        try:
            own = {k: ctx.params.get(k) for k in WHERE}
            answer = _client(ctx, own, COMPLETION_TIMEOUT).get("/api/v1/state").document
            key = "id" if kind == "engines" else "name"
            rows = [r if isinstance(r, str) else r[key] for r in answer[kind]]
        except Exception:  # whoever presses TAB wants names or silence
            return []
        short = [n.partition("/")[2] for n in rows]
        rows += [n for n in short if n and short.count(n) == 1]
        return [CompletionItem(n) for n in rows if n.startswith(incomplete) and n.isprintable()]

    return complete
