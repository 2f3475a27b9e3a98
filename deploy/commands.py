"""Every command with its options, as Markdown, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator

import click

from supervisor.cli.commands import Commands
from supervisor.cli.main import cli


def commands() -> str:
    """A heading for each section of `ullage --help`, and for each command what it takes."""
    assert isinstance(cli, Commands)
    lines: list[str] = []
    # With its own settings: a command keeps the help option of the first context that asks for it.
    with click.Context(cli, info_name="ullage", **cli.context_settings) as root:
        lines += _options(root, cli)
        for title, rows in cli.sections:
            lines += [f"## {title}", ""]
            for name in rows:
                lines += _command(root, name, cli.commands[name])
    return "\n".join(lines).rstrip() + "\n"


def _command(parent: click.Context, name: str, command: click.Command) -> Iterator[str]:
    with click.Context(command, parent=parent, info_name=name, **command.context_settings) as ctx:
        pieces = [p for p in command.collect_usage_pieces(ctx) if p != "[OPTIONS]"]
        if isinstance(command, click.Group):
            pieces = []  # its own commands follow
        yield from (f"### `{' '.join([ctx.command_path, *pieces])}`", "")
        said = (command.help or "").partition("\f")[0].strip()
        for paragraph in said.split("\n\n"):
            yield from (" ".join(paragraph.replace("\b", "").split()), "")
        yield from _options(ctx, command)
        if isinstance(command, click.Group):
            for inner in command.list_commands(ctx):
                yield from _command(ctx, inner, command.commands[inner])


def _options(ctx: click.Context, command: click.Command) -> Iterator[str]:
    rows = [
        record
        for each in command.get_params(ctx)
        if isinstance(each, click.Option) and not each.hidden and "--help" not in each.opts
        if (record := each.get_help_record(ctx)) is not None
    ]
    for words, meaning in rows:
        names = ", ".join(f"`{word}`" for word in words.split(", "))
        yield f"- {names}: {meaning}"
    if rows:
        yield ""
