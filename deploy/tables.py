"""Writes the tables of the README and of reference.md, and the JSON Schema of the configuration
file, from the code that they describe; and what the chart has of the project's other files.

`python -m deploy.tables` brings them up to date; with `--check` it changes nothing and ends with 1
if they are not what the code says.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import cast

from grafana.build import BOARDS
from grafana.classic import dashboard
from supervisor.alerting import Alerting
from supervisor.config.entrusted import FREE
from supervisor.config.file_schema import text as schema
from supervisor.config.settings import OTHER_VARIABLES, SETTINGS, Setting
from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import Ability
from supervisor.door import Door
from supervisor.engines import ENGINES
from supervisor.engines.base import Engine
from supervisor.overrides import waits, why_not
from supervisor.web.metrics import markdown_table
from supervisor.web.operations import Operation
from supervisor.web.site import Site
from supervisor.web.table import operations

from .commands import commands

AS_INNER = "as what answers inside"
README = Path(__file__).parent.parent / "README.md"
REFERENCE = Path(__file__).with_name("reference.md")
SCHEMA = Path(__file__).with_name("ullage.schema.json")
PROMETHEUS = Path(__file__).with_name("prometheus")
CHART = Path(__file__).with_name("helm") / "ullage/files"


def settings() -> str:
    """Every setting, and the variables that are no single key of the file."""
    keys = _table(
        ("key, and its variable", "default", "unit, or how it is written", "changes", "meaning"),
        ((_names(s), _code(s.default), _kind(s), _changes(s), s.help) for s in SETTINGS),
    )
    others = _table(
        ("variable", "meaning"), ((_code(name), text) for name, text in OTHER_VARIABLES.items())
    )
    return f"{keys}\n{others}"


def engines() -> str:
    """What each kind of engine can be asked for, as its adapter declares it."""
    head = ("engine, and its `kind`", "list", "load", "unload", "sleep", "in flight", "bytes",
            "cancel", "memory is checked in", "an unload while it has requests",
            "tried on")  # fmt: skip
    kinds = sorted(ENGINES.items(), key=lambda item: (item[1].described, item[1].title.lower()))
    return _table(head, (_engine(kind, engine) for kind, engine in kinds))


def _engine(kind: str, engine: type[Engine]) -> tuple[str, ...]:
    can = engine.abilities
    sleeps = [Ability.SLEEP in can, Ability.DEEP_SLEEP in can]
    sleep = {(True, True): "to RAM, or deeply", (True, False): "to RAM", (False, True): "deeply"}
    by_config = engine.described and kind == "http"
    inner = engine.described and not by_config
    return (
        f"{engine.title}<br>{_code(kind)}",
        *(_yes(by_config or ability in can) for ability in (Ability.LIST, Ability.LOAD)),
        _yes(by_config or Ability.UNLOAD in can),
        sleep.get((sleeps[0], sleeps[1]), AS_INNER if inner else _yes(by_config)),
        *(
            AS_INNER if inner else _yes(config or a in can) or (a in engine.sometimes) * "some"
            for a, config in (
                (Ability.IN_FLIGHT, by_config),
                (Ability.BYTES, by_config),
                (Ability.CANCEL, False),
            )
        ),
        engine.proof.value,
        engine.when_busy.value if by_config or Ability.UNLOAD in can else "",
        engine.checked.value,
    )


def _yes(can: bool) -> str:
    return "yes" if can else ""


def rankings() -> str:
    """Every rule by which models can be made to go, as the configuration names it."""
    rows = ((_code(r.name), r.meaning) for r in RANKINGS.values())
    return _table(("`ranking`", "who goes first"), rows)


def requests() -> str:
    """Everything that can be asked of the daemon over HTTP, from the table that serves it."""
    served = operations(Site(cast(Door, None), "", cast(Alerting, None)))  # nobody is asked
    both = {o.path for o in served if o.method == "POST"}
    rows = (_request(o) for o in served if o.method != "PUT" or o.path not in both)
    return _table(("request", "its body", "scope", "what it does, or answers"), rows)


def _request(operation: Operation) -> tuple[str, ...]:
    path = re.sub(r"\{(\w+)[^}]*\}", lambda found: found[1].upper(), operation.path)
    query, body = operation.query.model_fields, operation.body
    keys = {} if body is None else body.model_fields
    asked = "&".join(f"{field.alias or name}=" for name, field in query.items())
    return (
        _code(f"{operation.method} {path}{'?' if asked else ''}{asked}"),
        ", ".join(_code(field.alias or name) for name, field in keys.items()),
        "none" if operation.scope == FREE else _code(operation.scope),
        operation.summary,
    )


TABLES = {"engines": engines, "rankings": rankings}

REFERENCE_TABLES = {
    "commands": commands,
    "settings": settings,
    "requests": requests,
    "metrics": markdown_table,
}


def written(text: str, tables: Mapping[str, Callable[[], str]] = TABLES) -> str:
    """`text` with each table put between its markers. Raises ValueError where one is missing."""
    for name, table in tables.items():
        begin, end = (f"<!-- {name}: {edge} -->\n" for edge in ("begin", "end"))
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"there is no place for the {name}: {begin.strip()}, {end.strip()}")
        text = f"{head}{begin}\n{table()}\n{end}{tail}"
    return text


def charted() -> dict[Path, str]:
    """The rules and the dashboards, inside the chart: Helm takes nothing from elsewhere, and a link
    does not survive every way that files are copied."""
    rules = {
        CHART / name: (PROMETHEUS / name).read_text() for name in ("recording.yml", "alerts.yml")
    }
    boards = {
        CHART / f"dashboards/{b.name}.json": json.dumps(dashboard(b), separators=(",", ":")) + "\n"
        for b in BOARDS
    }
    return rules | boards


def _names(setting: Setting) -> str:
    variable = "" if setting.env is None else f"<br>{_code(setting.env)}"
    return _code(setting.key) + variable


def _changes(setting: Setting) -> str:
    """Whether it can be changed while the daemon runs."""
    if waits(setting.path):
        return "restart"
    return "live" if why_not(setting.path) is None else "file"


def _kind(setting: Setting) -> str:
    return setting.kind.replace(" | ", " or ")


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += (f"| {' | '.join(map(_cell, row))} |" for row in rows)
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.tables", description=__doc__)
    parser.add_argument("--check", action="store_true", help="say whether they are up to date")
    check = parser.parse_args(arguments).check
    documents = {
        README: written(README.read_text()),
        REFERENCE: written(REFERENCE.read_text(), REFERENCE_TABLES),
        SCHEMA: schema(ENGINES),
        **charted(),
    }
    stale = {p: text for p, text in documents.items() if not p.exists() or p.read_text() != text}
    for path, text in stale.items():
        if check:
            print(f"{path.name} is not what the code says; write it with `make docs`")
        else:
            path.write_text(text)
    return 1 if stale and check else 0


if __name__ == "__main__":
    sys.exit(main())
