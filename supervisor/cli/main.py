"""The command line: which commands there are. Each is in a module of its own kind."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from supervisor import __version__

from .asking import address
from .commands import Commands

EPILOG = """\b
Exit codes:
  0  done
  1  failed: a daemon that answers with an error, a program that cannot be had
  2  wrong usage
  3  a mistake in the configuration
  4  no daemon can be reached
  5  refused: pinned, busy, drained, or there is no way to make it fit
  6  not found: no model, pool or engine of that name
  7  no answer in time
  8  something is to be done: `ullage doctor` found it
  9  not allowed: the daemon wants a token, another one, or one with another scope

\b
Examples:
  ullage init && ullage run      write a configuration, keep headroom on this machine
  ullage status                  pools, models and what is wrong
  ullage why qwen3:8b            why it left, why it is still here, why it was refused
  ullage demo                    watch it work on a machine made of values

Where the daemon is may be said before or after a command: --url, --socket, --token-file,
or ULLAGE_URL and ULLAGE_TOKEN."""

SECTIONS = (
    (
        "Begin",
        {
            "init": ("init:init", "Find engines and GPUs, and write a configuration."),
            "run": ("run:run", "Run the daemon."),
            "doctor": ("doctor:doctor", "Say what works against us, and what to set."),
            "demo": ("run:demo", "Watch models come and go on a machine made of values."),
        },
    ),
    (
        "Look",
        {
            "status": ("looking:status", "Show pools, models, and what is wrong."),
            "top": ("top:top", "Watch it all on one screen, with keys to change it."),
            "models": ("looking:models", "List the models that are loaded, or could be."),
            "engines": ("looking:engines", "List the engines, and what they hold."),
            "why": ("looking:why", "Say why a model is where it is, or was refused."),
            "decisions": ("looking:decisions", "List what was decided, and why."),
            "events": ("events:events", "Tell what happens, as it happens."),
            "alerts": ("alerts:alerts", "List what alerts came in, and what became of them."),
            "logs": ("logs:logs", "Show what the process of a model wrote."),
            "audit": ("audit:audit", "List who changed what, and who was refused."),
            "health": ("health:health", "Say whether the daemon lives, for probes."),
            "version": ("looking:version", "Show the versions of this and of the daemon."),
        },
    ),
    (
        "Change",
        {
            "load": ("wishes:load", "Make room for a model, then load it."),
            "unload": ("wishes:unload", "Unload models by name, or all of them."),
            "evict": ("wishes:evict", "Unload as many as it takes for headroom."),
            "sleep": ("wishes:sleep", "Let models sleep."),
            "wake": ("wishes:wake", "Wake a model that sleeps."),
            "plan": ("wishes:plan", "Say what would be done, and do nothing."),
        },
    ),
    (
        "Keep",
        {
            "pin": ("pins:pin", "Never evict a model."),
            "unpin": ("pins:unpin", "Take a pin back."),
            "retention": ("pins:retention", "Set how long models stay."),
            "lease": ("leases:lease", "Hold a model while a command runs."),
            "reserve": ("leases:reserve", "Keep memory free for a program of your own."),
        },
    ),
    (
        "Stand back",
        {
            "pause": ("pausing:pause", "Do nothing of its own accord for a while."),
            "continue": ("pausing:continue_", "End a pause."),
            "drain": ("pausing:drain", "Let an engine finish, and unload its models."),
            "undrain": ("pausing:undrain", "Let requests go to an engine again."),
            "release": ("pausing:release", "Let go of the GPUs, to reset or split them."),
            "resume": ("pausing:resume", "Take the GPUs back that were released."),
        },
    ),
    (
        "Set up",
        {
            "settings": ("settings:settings", "Show and change settings at run time."),
            "config": ("config:config", "Check the configuration, and read it anew."),
            "token": ("token:token", "Make a token for the gateway, or for alerts."),
            "adopt": ("adopt:adopt", "Explain how Ullage takes an engine's place."),
            "completion": ("completion:completion", "Make TAB complete commands and models."),
        },
    ),
    (
        "More than one host",
        {
            "fleet": ("fleet:fleet", "See the hosts of a fleet, and place models there."),
        },
    ),
    (
        "Look back",
        {
            "replay": ("replay:replay", "Replay requests by this policy and by others."),
            "savings": ("savings:savings", "Say what was spent on loading models again."),
        },
    ),
)


@click.group(
    cls=Commands,
    sections=SECTIONS,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="ullage", message="%(prog)s %(version)s")
@address(hidden=False)
def cli(**_: object) -> None:
    """Keeps the engines of this machine within the memory it really has."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Ends the process with the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that this terminal cannot show ends nothing
            stream.reconfigure(errors="backslashreplace")
    cli.main(arguments, prog_name="ullage")
