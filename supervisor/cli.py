"""The command line. What a command alone needs is imported by that command: it must be quick."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from . import __version__
from .adopt_cli import adopt
from .asking import (
    EVICT_TIMEOUT,
    LOAD_TIMEOUT,
    REFUSED,
    WRONG,
    Commands,
    Trouble,
    address,
    asks,
    examples,
    names,
    quoted,
    word,
)
from .client import Answer, Client, ClientError, printable
from .completion_cli import completion
from .doctor_cli import doctor
from .leases_cli import lease, reserve
from .logs_cli import logs
from .pins_cli import pin, retention, unpin
from .replay_cli import replay
from .savings_cli import savings
from .settings_cli import settings
from .token_cli import token

EPILOG = """\b
Exit codes:
  0  done
  1  failed: an unknown model, a daemon that answers with an error
  2  wrong usage, or a mistake in the configuration
  4  no daemon can be reached
  5  refused by policy: pinned, busy, or there is no way to make it fit
  7  no answer in time

\b
Examples:
  ullage run                     keep headroom on this machine
  ullage status                  pools, models and what is wrong
  ullage demo                    watch it work on a machine made of values

Where the daemon is may be said before or after a command: --url, --socket, --token-file,
or ULLAGE_URL and ULLAGE_TOKEN."""


@click.group(cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ullage", message="%(prog)s %(version)s")
@address(hidden=False)
def cli(**_: object) -> None:
    """Keeps the engines of this machine within the memory it really has."""


@cli.command(epilog=examples(
    "ullage run --mode advise",
    "ullage run --engine qwen=http://127.0.0.1:8080 --set watchdog.idle_timeout=30m",
    "ullage run --config /etc/ullage/ullage.toml --set pools.ram.reserve=4GiB",
))  # fmt: skip
@click.option("--config", metavar="FILE", type=click.Path(path_type=Path), help="The settings.")
@click.option("--mode", metavar="enforce|advise|observe", help="How far a plan goes.")
@click.option("--host", metavar="HOST", help="The address to serve.")
@click.option("--port", metavar="PORT", help="The port to serve; 0: any free one.")
@click.option("--socket", metavar="PATH", help="A Unix socket to serve in addition.")
@click.option("--token-file", metavar="FILE", help="Holds what clients must send.")
@click.option("--gateway-port", metavar="PORT", help="The gateway's port; 0: any free one.")
@click.option("--no-gateway", is_flag=True, help="No gateway: only the memory is looked after.")
@click.option("--engine", "engines", metavar="NAME=URL", multiple=True, help="An engine.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option("--retention", metavar="HOW", help="pinned, on_demand or keep_alive.")
@click.option("--keep-alive", metavar="TIME", help="Idle so long, models go; 0 or -1 as Ollama.")
@click.option("--set", "others", metavar="KEY=VALUE", multiple=True, help="Any other setting.")
@click.pass_context
def run(ctx: click.Context, /, config: Path | None, others: tuple[str, ...], **given: Any) -> None:
    """Run the daemon. Without a configuration it finds engines on their usual ports."""
    from .config import ConfigError, load
    from .engines import ENGINES

    flags: dict[str, object] = {}
    for text in others:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.UsageError(f"--set {text}: write KEY=VALUE, as watchdog.idle_timeout=30m")
        flags[key.strip()] = value
    named = {"host": "listen.host", "port": "listen.port", "socket": "listen.socket",
             "token_file": "listen.token_file", "gateway_port": "gateway.port"}  # fmt: skip
    if given.pop("no_gateway"):
        flags["gateway.enabled"] = False
    flags |= {named.get(k, k): v for k, v in given.items() if v}
    try:
        settings = load(config, os.environ, flags, kinds=frozenset(ENGINES))
    except ConfigError as error:
        count = len(error.problems)
        what = f"the configuration has {count} mistake{'s' if count > 1 else ''}"
        raise Trouble(WRONG, what, [str(p) for p in error.problems]) from None
    from . import app

    ctx.exit(app.run(settings))


@cli.command(epilog=examples(
    "ullage status",
    "ullage status --wide                    # where every byte is, and how the devices feel",
    "ullage status --watch",
    "ullage status --json | jq '.pools[] | {name, headroom}'",
))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@click.option("--watch", is_flag=True, help="Look again every 2 s, until Ctrl-C.")
@click.option("--wide", is_flag=True, help="Where every byte is, and how the devices feel.")
@asks()
def status(client: Client, as_json: bool, watch: bool, wide: bool) -> None:
    """Show pools, models, engines that are down, and what is wrong."""
    if as_json and watch:
        raise click.UsageError("--watch is for people; ask with --json as often as you like")
    answer = client.get("/api/v1/state")
    if as_json:
        return click.echo(answer.text)
    from . import bars, show

    if not watch:
        return _draw(show.status(answer.document, bars.screen(), wide=wide))

    def draw() -> str:
        try:
            document = client.get("/api/v1/state").document
            return show.status(document, bars.screen(), wide=wide)
        except ClientError as error:
            return f"{printable(error.what)}; still asking\n"

    return show.follow(draw, bars.screen(), _draw, lambda: time.sleep(show.EVERY))


@cli.command(epilog=examples("ullage models", "ullage models --json | jq -r '.installed[].name'"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def models(client: Client, as_json: bool) -> None:
    """List the models that are loaded, and those that could be."""
    answer = client.get("/api/v1/models")
    if as_json:
        return click.echo(answer.text)
    from . import bars, show

    return _draw(show.models(answer.document, bars.screen()))


@cli.command(epilog=examples(
    "ullage evict qwen3:8b",
    "ullage evict --free 8GiB --pool gpu0",
    "ullage evict --all --no-wait",
))  # fmt: skip
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=names("models"))
@click.option("--all", "every", is_flag=True, help="Every model that may go.")
@click.option("--free", metavar="SIZE", help="As many as it takes for this much headroom.")
@click.option("--pool", metavar="POOL", help="Where to make headroom: gpu0, ram, or a pool's id.")
@click.option("--force", is_flag=True, help="Busy ones too. Their requests fail.")
@click.option("--no-wait", is_flag=True, help="Those in use stay.")
@click.option("--later", is_flag=True, help="Do not wait here until those in use have left.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(EVICT_TIMEOUT)
def evict(
    client: Client,
    models: tuple[str, ...],
    every: bool,
    free: str | None,
    pool: str | None,
    force: bool,
    no_wait: bool,
    later: bool,
    as_json: bool,
) -> None:
    """Unload models: by name, all of them, or as many as make room. Pinned ones stay.

    Those in use leave when they no longer are. That is waited for; Ctrl-C ends only the waiting.
    """
    _one_of({"MODEL": models, "--all": every, "--free": free}, pool, free)
    answer = client.post(
        "/api/v1/evict",
        models=list(models) or None,
        all=every or None,
        free=free,
        pool=pool,
        force=force or None,
        wait=not no_wait,
    )
    try_ = f"ullage why {word(models[0])}" if models else "ullage status"
    notes = {n["why"]: n["model"] for n in answer.document["decision"]["notes"]}
    if "pinned" in notes and models:
        try_ = f"ullage unpin {word(notes['pinned'])}, or take its pin out of the configuration"
    elif "busy" in notes and models:
        try_ = f"ullage evict --force {word(notes['busy'])}  # its requests fail"
    _carried(answer, as_json, "not everything that was asked for was unloaded", try_)
    if answer.document.get("leaving") and not later and not as_json:
        from .farewell_cli import wait

        wait(client, [row["model"] for row in answer.document["leaving"]])


@cli.command(epilog=examples("ullage load qwen3:8b", "ullage plan --load qwen3:8b  # a dry run"))
@click.argument("model", shell_complete=names("installed"))
@click.option("--client", "asking", metavar="NAME", help="Who asks: what it used before may leave.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(LOAD_TIMEOUT)
def load(client: Client, model: str, as_json: bool, asking: str | None) -> None:
    """Make room for a model, then have its engine load it."""
    answer = client.post("/api/v1/load", model=model, client=asking)
    _carried(answer, as_json, f"{model} was not loaded", f"ullage plan --load {quoted(model)}")


@cli.command(epilog=examples(
    "ullage release && sudo nvidia-smi --gpu-reset; ullage resume",
    "ullage release --for 30m",
))  # fmt: skip
@click.option("--for", "period", metavar="TIME", default="10m", show_default=True,
              help="Take them back after this long.")  # fmt: skip
@asks()
def release(client: Client, period: str) -> None:
    """Let go of the GPUs, so that they can be reset or split anew.

    Their memory is not read meanwhile: nothing is loaded there and nobody evicted for it.
    """
    found = client.post("/api/v1/release", period=period).document
    names = ", ".join(printable(n) for n in found["released"])
    until = time.strftime("%H:%M:%S", time.localtime(found["until"]))
    click.echo(f"released: {names}, until {until}; `ullage resume` takes them back sooner")


@cli.command(epilog=examples("ullage resume"))
@asks()
def resume(client: Client) -> None:
    """Take the GPUs back that were released."""
    found = client.post("/api/v1/resume").document["resumed"]
    names = ", ".join(map(printable, found))
    click.echo(f"resumed: {names}" if names else "nothing was released")


@cli.command(epilog=examples(
    "ullage plan --load qwen3:32b",
    "ullage plan --free 8GiB --pool gpu0",
    "ullage plan --evict qwen3:8b --evict llama3:8b",
))  # fmt: skip
@click.option("--load", "model", metavar="MODEL", shell_complete=names("installed"),
              help="If this model were to be loaded.")  # fmt: skip
@click.option("--free", metavar="SIZE", help="If this much headroom were needed.")
@click.option("--pool", metavar="POOL", help="Where: gpu0, ram, or a pool's id.")
@click.option("--evict", "models", metavar="MODEL", multiple=True, help="If these were to go.",
              shell_complete=names("models"))  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def plan(
    client: Client,
    model: str | None,
    free: str | None,
    pool: str | None,
    models: tuple[str, ...],
    as_json: bool,
) -> None:
    """Say what would be done, and do nothing. Exit code 5: it would be refused."""
    _one_of({"--load": model, "--free": free, "--evict": models}, pool, free)
    answer = client.post(
        "/api/v1/plan", load=model, free=free, pool=pool, evict=list(models) or None
    )
    found = answer.document
    spared = {n["model"] for n in found["notes"]} - {a["model"] for a in found["actions"]}
    _tell(answer, as_json)
    if not found["works"] or (models and spared):
        click.get_current_context().exit(REFUSED)


@cli.command(epilog=examples("ullage why qwen3:8b", "ullage why ollama/qwen3:8b --json"))
@click.argument("model", shell_complete=names("models"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def why(client: Client, model: str, as_json: bool) -> None:
    """Say why a model is where it is, and what would have to change."""
    _tell(client.get("/api/v1/why", model=model), as_json)


@cli.command(epilog=examples("ullage decisions -n 5", "ullage decisions --model qwen3:8b --json"))
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True,
              help="How many, newest first.")  # fmt: skip
@click.option("--model", help="Only those that have to do with it.", shell_complete=names("models"))
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks()
def decisions(client: Client, limit: int, model: str | None, as_json: bool) -> None:
    """List what was decided, why, and what became of it."""
    answer = client.get("/api/v1/decisions", limit=limit, model=model)
    if as_json:
        return click.echo(answer.text)
    from . import bars, show

    return _draw(show.decisions(answer.document["decisions"], bars.screen()))


@cli.command(
    epilog=examples("ullage demo", "ullage demo --speed 4 --seconds 60", "ullage demo --real")
)
@click.option("--real", is_flag=True, help="With a real llama-server and a small model.")
@click.option("--model", metavar="FILE", help="The model of --real, a GGUF file.")
@click.option("--speed", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="How much faster than life.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after this long.")
@click.option("--plain", "--once", "plain", is_flag=True, help="Lines, and no screen to look at.")
@click.pass_context
def demo(ctx: click.Context, /, **given: Any) -> None:
    """Watch models come and go. Needs no GPU, no engine and no daemon."""
    from .demo import main as play

    ctx.exit(play(**given))


@cli.command(epilog=examples("ullage version", "ullage version --json"))
@click.option("--json", "as_json", is_flag=True, help="As JSON; daemon is null if none answers.")
@asks(timeout=1.0)
def version(client: Client, as_json: bool) -> None:
    """Show the versions of this command and of the daemon, if one answers."""
    try:
        running = client.get("/api/v1/version").document.get("version")
    except ClientError:
        running = None
    if as_json:
        import json

        return click.echo(json.dumps({"version": __version__, "daemon": running}))
    where = "no daemon answers" if running is None else f"daemon {printable(running)}"
    return click.echo(f"ullage {__version__} ({where} at {printable(client.address)})")


cli.add_command(completion)
for command in (adopt, doctor, lease, pin, reserve, retention, unpin, token):
    cli.add_command(command)
cli.add_command(logs)
cli.add_command(settings)
cli.add_command(replay)
cli.add_command(savings)


# -- what they share


def _one_of(given: dict[str, object], pool: str | None, free: str | None) -> None:
    said = [name for name, value in given.items() if value]
    if len(said) != 1:
        raise click.UsageError(f"say one of {', '.join(given)}")
    if pool and not free:
        raise click.UsageError("--pool goes with --free")


def _draw(text: str) -> None:
    click.echo(text, nl=False, color=True)  # colours are show's to decide


def _tell(answer: Answer, as_json: bool) -> None:
    lines = [answer.text] if as_json else [printable(s) for s in answer.document["sentences"]]
    click.echo("\n".join(lines or ["nothing would have to be done"]))


def _carried(answer: Answer, as_json: bool, failed: str, try_: str) -> None:
    """What became of a wish. The daemon's `ok` says whether it was fulfilled."""
    found = answer.document
    if as_json:
        click.echo(answer.text)
    if found["ok"]:
        return None if as_json else _tell(answer, False)
    if found["decision"]["mode"] != "enforce":
        try_ = "ullage run --mode enforce; this daemon only says what it would do"
    raise Trouble(REFUSED, failed, found["sentences"], try_)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Ends the process with the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that this terminal cannot show ends nothing
            stream.reconfigure(errors="backslashreplace")
    cli.main(arguments, prog_name="ullage")
