"""`ullage top`: the dashboard in a terminal. Textual is imported by whoever opens it alone."""

from __future__ import annotations

import os
import sys

import click

from .asking import WRONG, Trouble, asks, examples
from .client import Client

LEAST, MOST = 0.2, 3600.0  # seconds between two looks


@click.command(
    epilog=examples(
        "ullage top",
        "ullage top --light",
        "ullage top --url http://gpu-box:8552 --token-file ~/.ullage-token --refresh 5s",
    )
)
@click.option("--refresh", metavar="TIME", default="1s", show_default=True,
              help="How often the daemon is asked; events are shown at once.")  # fmt: skip
@click.option("--light", "background", flag_value="light", help="Dark on white.")
@click.option("--dark", "background", flag_value="dark",
              help="White on dark; without either the terminal's own colours.")  # fmt: skip
@asks()
def top(client: Client, refresh: str, background: str | None) -> None:
    """Watch pools, models, engines and decisions live, with keys to change them.

    `?` shows the keys. NO_COLOR is heeded: letters say what colours do.
    """
    every = _every(refresh)
    if not on_a_terminal():
        raise Trouble(
            WRONG,
            "the dashboard needs a terminal",
            ["input or output goes elsewhere"],
            "ullage status --watch, or ullage status --json",
        )
    from supervisor.top.watch import Lost, Watch

    first = Watch(client, every, lambda _: None).look()  # before the screen: trouble is readable
    if isinstance(first, Lost):
        raise first.error
    try:
        from supervisor.top.app import Top
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] != "textual":
            raise
        from supervisor.extras import EXTRAS, install

        raise Trouble(
            WRONG,
            "the dashboard needs Textual",
            ["it is not installed"],
            install(*EXTRAS["top"]),
        ) from None
    from supervisor.top.look import Look

    from . import bars

    colourless = bool(os.environ.get("NO_COLOR"))
    if not colourless:
        os.environ.pop("NO_COLOR", None)  # empty is as good as none; Textual takes it for some
    look = Look(not colourless, bars.screen().unicode)
    theme = (
        "ansi-dark"  # which has no more colours than the terminal, and neither of its two grounds
    )
    if background is not None and not colourless:
        theme = f"textual-{background}"
    Top(client, first, every=every, look=look, theme=theme).run()


def on_a_terminal() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _every(text: str) -> float:
    from supervisor.units import UnitError, parse_duration

    try:
        seconds = parse_duration(text)
    except UnitError as error:
        raise Trouble(WRONG, f"--refresh: {error}") from None
    if not LEAST <= seconds <= MOST:
        raise Trouble(WRONG, f"--refresh: {text} is not between 200ms and 1h", [], "--refresh 1s")
    return seconds
