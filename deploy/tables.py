"""Writes the tables of the README from the code that they describe.

`python -m deploy.tables` brings README.md up to date; with `--check` it changes nothing and
ends with 1 if a table is not what the code says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from supervisor.core.rank import RANKINGS
from supervisor.core.snapshot import Ability
from supervisor.engines import ENGINES
from supervisor.engines.base import Engine
from supervisor.settings import OTHER_VARIABLES, SETTINGS, Setting
from supervisor.web.metrics import markdown_table

AS_INNER = "as what answers inside"
README = Path(__file__).parent.parent / "README.md"


def settings() -> str:
    """Every setting, and the variables that are no single key of the file."""
    keys = _table(
        ("key, and its variable", "default", "written as", "meaning"),
        ((_names(s), _code(s.default), _kind(s), s.help) for s in SETTINGS),
    )
    others = _table(
        ("variable", "meaning"), ((_code(name), text) for name, text in OTHER_VARIABLES.items())
    )
    return f"{keys}\n{others}"


def engines() -> str:
    """What each kind of engine can be asked for, as its adapter declares it."""
    head = ("engine, and its `kind`", "list", "load", "unload", "sleep", "in flight", "bytes",
            "cancel", "memory is checked in", "an unload of a busy model", "tried on")  # fmt: skip
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


TABLES = {"engines": engines, "rankings": rankings, "settings": settings, "metrics": markdown_table}


def written(text: str) -> str:
    """`text` with each table put between its markers. Raises ValueError where one is missing."""
    for name, table in TABLES.items():
        begin, end = (f"<!-- {name}: {edge} -->\n" for edge in ("begin", "end"))
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"there is no place for the {name}: {begin.strip()}, {end.strip()}")
        text = f"{head}{begin}\n{table()}\n{end}{tail}"
    return text


def _names(setting: Setting) -> str:
    variable = "" if setting.env is None else f"<br>{_code(setting.env)}"
    return _code(setting.key) + variable


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
    before = README.read_text()
    after = written(before)
    if before != after and check:
        print(f"{README.name} is not what the code says; write it with `make docs`")
        return 1
    if before != after:
        README.write_text(after)
    return 0


if __name__ == "__main__":
    sys.exit(main())
