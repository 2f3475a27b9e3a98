"""Groups of commands: each is loaded when it is called; mistakes are told with the closest name.

Forty commands together take longer to import than any of them takes to answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import click
from click.exceptions import NoArgsIsHelpError
from click.shell_completion import CompletionItem

from .asking import DENIED, FAILED, LATE, NO_DAEMON, REFUSED, UNKNOWN, WRONG, Trouble
from .client import BadAddress, ClientError, NoDaemon, Refused, Timeout

Section = tuple[
    str, Mapping[str, tuple[str, str]]
]  # its title, name → where it is and what it does


class Shelf(MutableMapping[str, click.Command]):
    """Commands by name, imported when they are taken: "looking:status"."""

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._made: dict[str, click.Command] = {}

    def __getitem__(self, name: str) -> click.Command:
        if name not in self._made:
            from importlib import import_module

            module, _, attribute = self._places[name].partition(":")
            self._made[name] = getattr(import_module(f"supervisor.cli.{module}"), attribute)
        return self._made[name]

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._places.setdefault(name, "")
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._places[name]
        self._made.pop(name, None)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class Named(click.Group):
    """A group that says which command was probably meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.commands, 3, 0.5)
            why = [f"did you mean {' or '.join(near)}?"] if near else []
            what = f"there is no command {args[0]!r}"
            raise Trouble(WRONG, what, why, f"{ctx.command_path} --help")
        return super().resolve_command(ctx, args)


class Commands(Named):
    """All of them. Turns whatever is raised into trouble with the right exit code."""

    def __init__(self, name: str | None, sections: Sequence[Section] = (), **more: Any) -> None:
        self.sections = sections
        self.about = {name: row[1] for _, rows in sections for name, row in rows.items()}
        places = {name: row[0] for _, rows in sections for name, row in rows.items()}
        super().__init__(name, commands=Shelf(places), **more)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, rows in self.sections:
            with formatter.section(title):
                formatter.write_dl([(name, about) for name, (_, about) in rows.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [
            CompletionItem(name, help=about)
            for name, about in self.about.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def make_context(self, *given: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*given, **more)
        except click.UsageError as error:
            raise _usage(error) from None

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ClientError as error:
            raise trouble(error) from None
        except click.UsageError as error:
            raise _usage(error) from None
        except MemoryError:
            why = ["the machine, or a limit of this process, has no more"]
            raise Trouble(FAILED, "there is not enough memory for this", why) from None


def trouble(error: ClientError) -> Trouble:
    """What a command says of it, and with which exit code it ends."""
    if not isinstance(error, Refused):
        return Trouble(_code(error), error.what, [error.why], error.try_)
    about = error.problem.get("what")
    if error.status == 404 and about is None:
        why = error.why or "the daemon is perhaps older than this command, and cannot do that yet"
        return Trouble(FAILED, error.what, [why], "ullage version")
    said = " · ".join(dict.fromkeys(_PROPOSED.findall(error.what)))
    try_ = _LISTED.get(str(about)) or error.try_ or said
    return Trouble(_code(error), error.what, [error.why], try_)


_PROPOSED = re.compile(r"`(ullage [^`]+)`")  # commands within what the daemon says
_LISTED = {
    "model": "ullage models",
    "pool": "ullage status",
    "engine": "ullage engines",
    "pin": "ullage status",
    "lease": "ullage lease --list",
    "reservation": "ullage reserve --list",
}


def _code(error: ClientError) -> int:
    if isinstance(error, Refused):
        codes = {401: DENIED, 403: DENIED, 404: UNKNOWN, 409: REFUSED, 422: WRONG, 429: DENIED}
        return codes.get(error.status, FAILED)
    kinds = {NoDaemon: NO_DAEMON, Timeout: LATE, BadAddress: WRONG}
    return next((code for kind, code in kinds.items() if isinstance(error, kind)), FAILED)


def _usage(error: click.UsageError) -> click.ClickException:
    """Wrong usage in the three lines of any other trouble."""
    if isinstance(error, NoArgsIsHelpError):
        return error
    what = error.format_message().rstrip(".").replace("\n", " ")
    ctx = error.ctx
    param = getattr(error, "param", None)
    if isinstance(param, click.Argument) and isinstance(param.type, click.Choice):
        what = error.message.rstrip(".")  # click calls it by all that it may be
    usage = "" if ctx is None else " ".join(ctx.command.get_usage(ctx).split()[1:])
    why = [f"it is used as {usage}"] if usage else []
    command = "ullage" if ctx is None else ctx.command_path
    return Trouble(WRONG, what[:1].lower() + what[1:], why, f"{command} --help")
