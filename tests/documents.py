"""The project's documents, read as tests need them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent
README, DESIGN, CHANGELOG = (ROOT / f"{name}.md" for name in ("README", "DESIGN", "CHANGELOG"))
REFERENCE = ROOT / "deploy/reference.md"
# Prose that people follow: what it shows must work.
GUIDES = [README, CHANGELOG, ROOT / "SECURITY.md", ROOT / "grafana/README.md"]
GUIDES += sorted((ROOT / "deploy").glob("*.*"))
GUIDES = [p for p in GUIDES if p.suffix in (".md", ".toml", ".service")]
WHOLE = re.MULTILINE | re.DOTALL

Block = tuple[str, str]  # its language, and what it holds


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path) -> list[Block]:
    return re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), WHOLE)


def spans(text: str) -> list[str]:
    """The code spans of a text, without its fenced blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=WHOLE))


def section(path: Path, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", path.read_text(), WHOLE)
    assert found, f"{name(path)} has no section {title!r}"
    return found[1]


def prose(path: Path) -> str:
    return " ".join(path.read_text().split())


def lines_of_shell(path: Path) -> Iterator[str]:
    """What people would type: lines of shell blocks, commands of a unit, code spans."""
    if path.suffix == ".service":
        yield from re.findall(r"^Exec\w+=(.*)$", path.read_text(), re.MULTILINE)
    shell = (text.splitlines() for language, text in blocks(path) if language == "sh")
    for line in [*chain(*shell), *spans(path.read_text())]:
        yield from re.split(r"&&|\|", line)
