"""`ullage run` and `ullage demo`: the daemon, and what it does on a machine made of values."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from .asking import FAILED, Trouble, examples

LEAST_ADDRESSES = 2 << 30  # bytes: a thread takes some 70 MiB of them, and hardly any memory


def check_addresses() -> None:
    """Raises Trouble where the system allows so few that the daemon would not come up: it would
    fail anywhere on its way, and with words that tell nobody what is wrong."""
    try:
        from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit
    except ImportError:  # on Windows
        return
    most, _ = getrlimit(RLIMIT_AS)
    if most == RLIM_INFINITY or most >= LEAST_ADDRESSES:
        return
    what = "there is too little memory to start: the limit of address space is too low"
    needs = f"it is {most >> 20} MiB, and {LEAST_ADDRESSES >> 20} MiB are needed"
    try_ = "`ulimit -v unlimited`, or LimitAS=infinity in the unit"
    raise Trouble(FAILED, what, [f"{needs}; little of it is ever used"], try_)


@click.command(epilog=examples(
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
@click.option("--log-format", metavar="FORMAT", help="auto, console or json.")
@click.option("--retention", metavar="HOW", help="pinned, on_demand or keep_alive.")
@click.option("--keep-alive", metavar="TIME", help="Idle so long, models go; 0 or -1 as Ollama.")
@click.option("--set", "others", metavar="KEY=VALUE", multiple=True, help="Any other setting.")
@click.pass_context
def run(ctx: click.Context, /, config: Path | None, others: tuple[str, ...], **given: Any) -> None:
    """Run the daemon. Without a configuration it finds engines on their usual ports."""
    check_addresses()
    without_httpx_cli()
    from supervisor.config.config import ConfigError, load
    from supervisor.engines import ENGINES

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
        from .config import mistaken

        flagged = all(p.where.startswith("flag ") for p in error.problems)  # no file has those
        then = "ullage run; --help says what may be given" if flagged else "ullage config check"
        raise mistaken(None if flagged else config, error, then) from None
    from supervisor import app

    ctx.exit(app.run(settings))


def without_httpx_cli() -> None:
    """httpx has a command line of its own, which brings along all that it colours answers with:
    3 MiB that a daemon has no use for. Where it cannot be had, httpx does without."""
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]


@click.command(
    epilog=examples(
        "ullage demo",
        "ullage demo --speed 4 --seconds 60",
        "ullage demo --serve                      # the page, top and every command can be tried",
        "ullage demo --real",
    )
)
@click.option("--real", is_flag=True, help="With a real llama-server and a small model.")
@click.option("--model", metavar="FILE", help="The model of --real, a GGUF file.")
@click.option("--speed", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True,
              help="How much faster than life.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(0, min_open=True), help="End after this long.")
@click.option("--serve", is_flag=True, help="Answer as a daemon does, and tell what happens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8552, show_default=True,
              help="Where --serve answers; 0: any free one.")  # fmt: skip
@click.option("--plain", "--once", "plain", is_flag=True, help="Lines, and no screen to look at.")
@click.pass_context
def demo(ctx: click.Context, /, serve: bool, port: int, **given: Any) -> None:
    """Watch models come and go. Needs no GPU, no engine and no daemon."""
    if serve and given["real"]:
        raise click.UsageError("--serve goes without --real: a real engine has `ullage run`")
    from supervisor.demo import main as play

    ctx.exit(play(**given, serve=port if serve else None))
