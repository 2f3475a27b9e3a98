"""Draws what the daemon answers, for people. Values in, text out.

Everything that is told by a colour is told by a character or a word as well. Names come from
engines: what a terminal would act on is shown as its escape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from io import StringIO

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from supervisor import alert_words, caller_words
from supervisor.core.became import of_outcome, verb
from supervisor.printable import printable
from supervisor.units import format_bytes, format_seconds

from .asking import said
from .bars import Row, Screen, pools

EVERY = 2.0  # seconds between two looks of `--watch`
FRESH = 5.0  # seconds: a sample that is older is worth saying so
SOME = 5  # models that are named where all of them would be too many
SHORTEST = 8  # characters of a pool's id, where it is shortened

COLOURS = {"critical": "bold red", "warning": "yellow", "info": "default"}


# -- whole answers


def status(state: Row, on: Screen, *, wide: bool = False) -> str:
    """The state, as `GET /api/v1/state` has it. `wide`: with all that is known of every byte."""
    label = labels(p["id"] for p in state["pools"])
    parts: list[RenderableType] = [_header(state), ""]
    if state["sample_age"] is None:
        parts.append("The first sample is not in yet; ask again in a second.")
        return drawn(parts, on)
    for pool in pools(state, on):
        parts += [pool, ""]
    if wide:
        parts += _wide(state, label, on)
    if state["models"]:
        parts += [_models(state["models"], label), ""]
    else:
        parts += [_nothing_loaded(state["installed"]) if state["engines"] else NO_ENGINE, ""]
    parts.append(_wrong(state, label))
    parts += gateway(state.get("gateway"))  # an older daemon has none
    parts += _rest(state)
    return drawn(parts, on)


def _wide(state: Row, label: Mapping[str, str], on: Screen) -> Iterable[RenderableType]:
    from . import wide

    for tree in wide.trees(state["pools"], label, on):
        yield from (tree, "")
    if state["devices"]:
        ids = labels(d["uuid"] for d in state["devices"])
        yield from (wide.devices(state["devices"], ids, on), "")
    if state["host"] is not None and (line := wide.host(state["host"])):
        yield from (line, "")


def models(answer: Row, on: Screen) -> str:
    """Loaded and installed models, as `GET /api/v1/models` has them."""
    loaded = {m["name"] for m in answer["models"]}
    label = labels(s["pool"] for m in answer["models"] for s in m["shares"])
    parts: list[RenderableType] = []
    if answer["models"]:
        parts.append(_models(answer["models"], label))
    else:
        parts.append(_nothing_loaded(answer["installed"]))
    others = [m for m in answer["installed"] if m["name"] not in loaded]
    if others:
        table = table_of("INSTALLED, NOT LOADED", ">FILE", "STATUS")
        for model in others:
            size = "not known" if model["size"] is None else format_bytes(model["size"])
            table.add_row(_name(model["name"]), size, printable(model.get("status", "local")))
        parts += ["", table]
    return drawn(parts, on)


def decisions(rows: Sequence[Row], on: Screen, zone: tzinfo | None = None) -> str:
    """The journal's decisions, what they were for and what became of them. `zone` None: local."""
    if not rows:
        return "Nothing has been decided yet; `ullage status` shows what there is.\n"
    parts: list[RenderableType] = []
    for row in rows:
        at = datetime.fromtimestamp(row["at"], UTC).astimezone(zone)
        mode = "" if row["mode"] == "enforce" else f"  {row['mode']} only"
        head = Text.assemble(
            (printable(row["id"]), "bold"), f"  {at:%Y-%m-%d %H:%M:%S}  {row['trigger']}{mode}"
        )
        by = f" (by {row['by']})" if row.get("by") else ""
        lines = [printable(row["cause"] + by), *_became(row)]
        parts += [head, *(Padding(Text(line), (0, 0, 0, 2)) for line in lines)]
    return drawn(parts, on)


def _became(row: Row) -> Iterable[str]:
    for outcome in row["outcomes"]:
        yield printable(of_outcome(outcome))
    told = {(o["action"], o["model"]) for o in row["outcomes"]}
    if open := [a for a in row["actions"] if (a["action"], a["model"]) not in told]:
        # An older daemon does not say what is under way.
        ended = "its outcome is not known, for the daemon ended meanwhile"
        word = "no outcome yet" if row.get("running", True) else ended
        yield printable(", ".join(f"{verb(a)} {a['model']}" for a in open) + f": {word}")
    if not row["actions"]:
        stayed = [f"{n['model']} ({n['why']})" for n in row["notes"]]
        more = [f"{len(stayed) - SOME} more"] if len(stayed) > SOME else []
        if stayed:
            yield printable(f"nobody went: {', '.join(stayed[:SOME] + more)}")
    for share in row["unmet"]:
        yield printable(f"still missing: {format_bytes(share['size'])} of {share['pool']}")
    for blind in row.get("blind", ()):
        yield printable(f"{blind['pool']} cannot be read: {blind['why']}")
    if row["full"]:
        yield printable(f"more active than allowed: {', '.join(dict.fromkeys(row['full']))}")


def follow(
    draw: Callable[[], str], on: Screen, write: Callable[[str], object], pause: Callable[[], object]
) -> None:
    """Draw again and again, in place on a terminal, until interrupted."""
    write("\x1b[?1049h" if on.terminal else "")  # the other screen: what was there comes back
    try:
        while True:
            lines = draw().splitlines()
            if on.terminal:
                room = on.height - 1
                if len(lines) > room:
                    lines[room - 1 :] = [f"({len(lines) - room + 1} more lines)"]
                write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
            else:
                write("\n".join([*lines, "", ""]))
            pause()
    except KeyboardInterrupt:
        pass
    finally:
        write("\x1b[?1049l" if on.terminal else "")


def labels(ids: Iterable[str]) -> dict[str, str]:
    """Short names for pools: the beginnings of their ids, as long as it takes to differ."""
    every = sorted(set(ids))
    for length in range(SHORTEST, max(map(len, every), default=0)):
        short = {i: i if len(i) <= SHORTEST + 4 else i[:length] for i in every}
        if len(set(short.values())) == len(every) and not any(
            s[-1] in "-:" for s in short.values()
        ):
            return {i: printable(s) for i, s in short.items()}
    return {i: printable(i) for i in every}


# -- their parts


def _header(state: Row) -> Text:
    mode = {"advise": "advises only", "observe": "observes only"}.get(state["mode"], state["mode"])
    text = Text.assemble(
        (f"Ullage {printable(state['version'])}", "bold"),
        f"  {printable(mode)}  up {format_seconds(state['uptime'])}",
    )
    age = state["sample_age"]
    if age is not None and (age > FRESH or not state["ready"]):
        text.append(f"  measured {format_seconds(age)} ago", "bold yellow")
    return text


def _models(rows: Iterable[Row], label: Mapping[str, str]) -> Table:
    """A line a model, and one for every further pool that it holds memory of."""
    table = table_of("MODEL", ">SIZE", "FROM", "POOL", "STATE")
    for model in rows:
        first = [(format_bytes(model["size"]), "", "")]
        shares = [
            (format_bytes(s["size"]), s["source"], label.get(s["pool"], printable(s["pool"])))
            for s in model["shares"]
        ]
        for i, cells in enumerate(shares or first):
            name, state = (_name(model["name"]), _state(model)) if i == 0 else (Text(), Text())
            table.add_row(name, *cells, state)
    return table


def _state(model: Row) -> Text:
    if model.get("status") == "leaving":
        return Text(f"leaving (contexts={model['contexts']})", "yellow")
    if model["state"] == "unknown":
        text = Text("unknown", "yellow")  # its engine does not answer
    elif model["state"] not in ("loaded", "sleeping"):
        text = Text(printable(model["state"]), "yellow")
    elif model["busy"] and model["in_flight"]:
        text = Text(f"{model['in_flight']} in flight", "green")
    elif model["busy"]:
        text = Text(f"busy {format_seconds(model['busy_for'])}", "green")
    else:
        word = "asleep" if model["state"] == "sleeping" else "idle"
        text = Text(f"{word} {format_seconds(model['idle'])}")
    for keeper in model.get("kept_by", ["pinned"] if model["pinned"] else []):
        if not keeper.endswith(("in flight", "busy")):  # that is said already
            text.append(f", {printable(keeper)}", "bold")
    return text


def _nothing_loaded(installed: Sequence[Row]) -> Text:
    text = Text("No model is loaded. ")
    if installed:
        count = "1 is" if len(installed) == 1 else f"{len(installed)} are"
        return text.append(f"{count} installed: see `ullage models`, then `ullage load NAME`.")
    return text.append("The engines that answer have none installed either.")


def journal_lost(journal: Row) -> bool:
    """Whether decisions are kept in memory alone though they should be in a file. An older daemon
    does not say that it is a demo's."""
    return not journal.get("persistent", True) and bool(journal.get("meant_to_persist", True))


NO_ENGINE = """\
No engine was found on this machine's usual ports.
  Start one (`ollama serve`, `llama-server`), or say where it listens:
  `ullage run --engine NAME=URL`. `ullage demo` shows all of this without any."""


def _wrong(state: Row, label: Mapping[str, str]) -> Table:
    """Who is up in one line, then whoever is not, then the findings that say more than that."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    since = {(f["kind"], f["subject"]): f["for"] for f in state["findings"]}
    up = [f"{e['id']} {e['version'] or ''}".strip() for e in state["engines"] if e["up"]]
    if up:
        table.add_row("engines up", printable(", ".join(up)))
    for engine in state["engines"]:
        if not engine["up"]:
            age = since.get(("engine_down", engine["id"]))
            text = f"{engine['id']} at {engine['url']}: {engine['fault']}"
            text += "" if age is None else f", for {format_seconds(age)}"
            how = "engine degraded" if engine.get("degraded") else "engine down"
            table.add_row(Text(how, COLOURS["warning"]), printable(text))
    for finding in sorted(state["findings"], key=_severity):
        if finding["kind"] not in ("engine_down", "blind"):  # those are shown where they are
            subject = label.get(finding["subject"], finding["subject"])
            text = f"{subject}: {finding['detail']}, for {format_seconds(finding['for'])}"
            word = Text(printable(finding["severity"]), COLOURS.get(finding["severity"], ""))
            table.add_row(word, printable(text))
    return table


def gateway(row: Row | None) -> Iterable[RenderableType]:
    """Where it listens, what passes and what waits; of models that are there the table tells."""
    if row is None:
        return
    if row["fault"] is not None:
        text = f"the gateway does not listen: {row['fault']} (`ullage doctor`)"
        yield Text(printable(text), COLOURS["warning"])
        return
    passing = sum(r["count"] for r in row["in_flight"])
    waiting = sum(r["count"] for r in row["held"])
    text = f"gateway at {', '.join(row['addresses'])}: {passing} in flight, {waiting} waiting"
    if refused := sum(row["refused"].values()):
        often = max(row["refused"], key=lambda why: (row["refused"][why], why))
        mostly = "mostly " if row["refused"][often] < refused else ""
        text += f", {refused} refused ({mostly}{often.replace('_', ' ')})"
    yield Text(printable(text))
    for held in row["held"]:
        count = "1 request waits" if held["count"] == 1 else f"{held['count']} requests wait"
        longest = f"the first for {format_seconds(held['longest'])}"
        yield Text(printable(f"  {held['model']}: {count}, {longest}"), COLOURS["warning"])


def configuration(row: Row | None) -> Iterable[RenderableType]:
    """What is wrong with the file, and what waits; nothing where it is in force as it is."""
    if row is None:
        return
    if count := len(row["mistakes"]):
        mistakes = "1 mistake" if count == 1 else f"{count} mistakes"
        text = f"{row['file']} is refused for {mistakes}; what was in force before stays in force"
        yield Text(printable(f"{text} (`ullage config check`)"), COLOURS["warning"])
    if row["restart"]:
        text = f"in force when the daemon is started anew: {', '.join(row['restart'])}"
        yield Text(printable(text))


def _severity(finding: Row) -> int:
    names = list(COLOURS)
    return names.index(finding["severity"]) if finding["severity"] in names else len(names)


def _resting(state: Row) -> Iterable[RenderableType]:
    """What the operator has told to rest."""
    if (pause := state.get("paused")) is not None:
        text = f"paused{_left(pause, state)}: only what is asked for is done (`ullage continue`)"
        yield Text(text, COLOURS["warning"])
    for drain in state.get("drained", ()):
        who = drain["engine"] or "every engine"
        text = f"{who} is drained{_left(drain, state)}: {drain['in_flight']} in flight"
        yield Text(printable(f"{text} (`ullage undrain`)"), COLOURS["warning"])


def _alerts(row: Row | None, now: float) -> Iterable[RenderableType]:
    """What holds because of alerts, and the last of them as long as it is news."""
    if row is None:
        return
    for hold in row["holds"]:
        text = f"{alert_words.hold(hold, now)} (`ullage alerts`)"
        yield Text(said(text), COLOURS["warning"])
    if last := alert_words.in_short(row, now):
        yield Text(said(last))


def _left(row: Row, state: Row) -> str:
    until = row["until"]
    return "" if until is None else f" for {format_seconds(max(0.0, until - state['now']))}"


def _rest(state: Row) -> Iterable[RenderableType]:
    yield from _resting(state)
    yield from _alerts(state.get("alerts"), state["now"])
    yield from configuration(state.get("config"))
    for lease in state.get("leases", ()):
        left = format_seconds(lease["left"])
        text = f"lease {lease['id']}: {lease['client']} on {lease['model']}, {left} left"
        yield Text(printable(text))
    for job in state.get("reservations", ()):
        kept, size = format_bytes(job["held"]), format_bytes(job["size"])
        text = f"reserved {job['id']}: {size} of {job['pool']} for {job['client']}"
        yield Text(printable(f"{text}, {kept} kept free, {format_seconds(job['left'])} left"))
    if state["running"]:
        yield Text(f"under way: {printable(', '.join(state['running']))} (`ullage decisions`)")
    if journal_lost(state["journal"]):
        yield Text("the journal is kept in memory only; the log says why", COLOURS["warning"])
    if state["journal"]["failures"]:
        count = state["journal"]["failures"]
        yield Text(f"the journal could not be written {count} times", COLOURS["warning"])
    for line, warns in caller_words.in_short(state.get("callers"), state["now"]):
        yield Text(said(line), COLOURS["warning"] if warns else "")
    for note in state["notes"]:
        yield Text(printable(note), "bright_black")


# -- the means


def table_of(*columns: str) -> Table:
    """A grid with a head. ">" before a column's name: to the right. Where room is short, the last
    column, if that has words, goes over several lines before the names in the first one do."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(
            name.removeprefix(">"),
            justify="right" if name.startswith(">") else "left",
            overflow="fold",
            no_wrap=i > 0 and (i + 1 < len(columns) or name.startswith(">")),
        )
    return table


def _name(name: str) -> Text:
    return Text(printable(name))


def drawn(parts: Iterable[RenderableType], on: Screen) -> str:
    out = StringIO()
    console = Console(
        file=out,
        width=on.width,
        color_system="standard" if on.colour else None,
        force_terminal=on.colour,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    for part in parts:
        console.print(part)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    return "\n".join(lines).rstrip("\n") + "\n"
