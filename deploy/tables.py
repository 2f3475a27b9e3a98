"""Writes the tables of the README from the code that they describe.

`python -m deploy.tables` brings README.md up to date; with `--check` it changes nothing and
ends with 1 if a table is not what the code says.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from supervisor.settings import OTHER_VARIABLES, SETTINGS, Setting
from supervisor.web.metrics import markdown_table

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


TABLES = {"settings": settings, "metrics": markdown_table}


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
