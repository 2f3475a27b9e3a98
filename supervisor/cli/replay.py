"""`ullage replay`: what a trace of requests would have cost, by this policy and by others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from supervisor.printable import printable

from .asking import WRONG, Trouble

if TYPE_CHECKING:
    from collectors.reading import Bytes
    from supervisor.replay.compare import Comparison
    from supervisor.replay.rules import Rule
    from supervisor.replay.trace import Trace

USUAL = "value,lru,idle_over_load,landlord,gdsf,count_lru_safe,ttl_5m_lru,ollama_like,single_model"


@click.command(
    epilog="\b\nExamples:\n  ullage replay requests.csv.gz\n"
    "  ullage replay requests.csv --policy value,lru --capacity 24GB --host\n"
    "  ullage replay requests.csv --plot compared.svg\n"
    "  ullage replay --journal --capacity 22GiB        # what this machine was asked for"
)
@click.argument("trace", required=False, type=click.Path(path_type=Path))
@click.option("--policy", "policies", metavar="A,B", default=USUAL,
              help="Which; `--policy help` says what there is.")  # fmt: skip
@click.option("--capacity", metavar="SIZE", help="What the models may hold.")
@click.option("--ratio", type=click.FloatRange(min=0.01), metavar="N",
              help="Instead: what all models hold, divided by N.  [default: 2]")  # fmt: skip
@click.option("--seed", type=int, metavar="N", help="Which sizes, where a trace has several.")
@click.option("--host", is_flag=True, help="With queues, models at work and loads one by one.")
@click.option("--queue", type=click.Choice(["waiters", "arrival", "head"]), default="waiters",
              show_default=True, help="With --host: whom to load for next.")  # fmt: skip
@click.option("--journal", is_flag=True, help="What this machine was asked for; TRACE is its file.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg", help="As a picture.")
def replay(
    trace: Path | None,
    policies: str,
    capacity: str | None,
    ratio: float | None,
    seed: int | None,
    host: bool,
    queue: str,
    journal: bool,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Replay requests through the deciding core, by this policy and by others, next to the best
    schedule that knows the future. Touches no engine.

    TRACE is a CSV file, plain or gzip: arrival_s, model, service_s; the sizes in NAME.models.csv
    beside it (seed, model, size_bytes, load_s), or in columns size_bytes and load_s of its own.
    """
    from supervisor.replay.compare import compare, document
    from supervisor.replay.rules import Queue

    if policies == "help":
        return click.echo(_known())
    if trace is None and not journal:
        raise click.UsageError("say which TRACE, or --journal for what this machine was asked for")
    if capacity is not None and ratio is not None:
        raise click.UsageError("--capacity and --ratio say the same; leave one out")
    if plot is not None and plot.suffix != ".svg":
        name = plot.with_suffix(".svg").name
        raise click.UsageError(f"--plot writes SVG, which every browser shows: name it {name}")
    rules = _rules(policies)
    found = _journal(trace) if journal else _trace(trace or Path(), seed)
    size = _capacity(found, capacity, 2.0 if ratio is None else ratio)
    compared = compare(found, size, rules, on_host=host, queue=Queue(queue))
    if plot is not None:
        from supervisor.replay.picture import picture

        try:
            plot.write_text(picture(compared), encoding="utf-8")
        except OSError as error:
            raise Trouble(WRONG, f"{plot} cannot be written", [str(error)]) from None
    if as_json:
        return click.echo(json.dumps(document(compared), indent=1))
    return _show(compared)


def _known() -> str:
    from supervisor.replay.rules import RULES

    return "\n".join(f"{name:22}{rule.meaning}" for name, rule in RULES.items())


def _rules(text: str) -> list[Rule]:
    from supervisor.replay.rules import RULES

    names = list(dict.fromkeys(n.strip() for n in text.split(",") if n.strip()))
    for name in names:
        if name not in RULES:
            raise click.UsageError(
                f"--policy: none is called {name!r}; there are {', '.join(RULES)}"
            )
    if not names:
        raise click.UsageError("--policy: name at least one")
    return [RULES[name] for name in names]


def _trace(path: Path, seed: int | None) -> Trace:
    from supervisor.replay.trace import TraceError, read

    try:
        return read(path).trace(seed)
    except TraceError as error:
        raise Trouble(WRONG, "the trace cannot be read", error.mistakes) from None


def _journal(path: Path | None) -> Trace:
    from supervisor.config.config import ConfigError
    from supervisor.replay.past import past, recorded

    from .config import loaded, mistaken

    if path is None:
        try:
            path = loaded(None).state_dir / "journal.db"
        except ConfigError as error:
            raise mistaken(None, error, "ullage config check") from None
    try:
        found = past(recorded(path))
    except OSError as error:
        try_ = "name the daemon's: ullage replay --journal STATE_DIR/journal.db"
        raise Trouble(WRONG, "the journal cannot be read", [str(error)], try_) from None
    if not found.trace.requests:
        why = "nothing was asked for yet, or nobody knows what the models hold"
        raise Trouble(WRONG, f"{path} has nothing to replay", [why])
    if found.skipped:
        note = f"left out: {found.skipped} requests for models whose size nobody knows"
        click.echo(note, err=True)
    return found.trace


def _capacity(trace: Trace, said: str | None, ratio: float) -> Bytes:
    from supervisor.replay.trace import capacity
    from supervisor.units import UnitError, parse_size

    if said is None:
        return capacity(trace.models, ratio)
    try:
        size = parse_size(said)
    except UnitError as error:
        raise Trouble(WRONG, f"--capacity: {error}") from None
    if size < 1:
        raise Trouble(WRONG, "--capacity: there is nothing to hold a model in")
    return size


def _show(found: Comparison) -> None:
    from supervisor.replay.figures import Waits
    from supervisor.units import format_bytes

    trace = found.trace
    setting = "on a simulated host" if found.on_host else "one after another"
    click.echo(
        f"{printable(trace.name)}: {len(trace.requests):,} requests for {len(trace.models)} models"
        f" in {format_bytes(found.capacity)}, {setting}"
    )
    head = "POLICY|COLD STARTS|RELOADING|WAIT MEAN|P50|P95|P99|REFUSED|× ORACLE"
    rows: list[tuple[str, ...]] = [tuple(head.split("|"))]
    best = "1.00" if found.best else ""
    rows.append(("the oracle", f"{found.cold:,}", _seconds(found.best), *[""] * 5, best))
    for result in found.results:
        figures, waits = result.figures, Waits.of(result.figures.waits)
        times = found.times(figures.reload)
        rows.append((
            result.rule.name, f"{figures.cold:,}", _seconds(figures.reload),
            *(f"{w:,.2f} s" for w in (waits.mean, waits.p50, waits.p95, waits.p99)),
            f"{figures.refused:,}", "" if times is None else f"{times:.2f}",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        line = [first[0].ljust(first[1]), *(text.rjust(width) for text, width in others)]
        click.echo("  ".join(line).rstrip())
    if found.exact:
        click.echo("There is no better schedule than the oracle's.")
    else:
        click.echo("The oracle is the best schedule that was found, not the best there is.")


def _seconds(number: float) -> str:
    return f"{number:,.0f} s" if number >= 10 else f"{number:.1f} s"
