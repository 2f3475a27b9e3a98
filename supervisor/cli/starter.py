"""The configuration that `ullage init` writes: what was found, and the settings that are changed
most, commented out with what is usual. Values in, text out."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from collectors.reading import Bytes
from supervisor.config.settings import SETTINGS, dotted
from supervisor.core.wording import size
from supervisor.printable import printable

WIDTH = 98
LONGEST = 60  # characters of a version

# By table; with an example where the default would say nothing.
SHOWN: tuple[tuple[str, tuple[tuple[str, str | None], ...]], ...] = (
    ("", (("mode", None), ("single_active_backend", None),
          ("max_active_backends", None), ("foreign_pressure", None))),
    ("watchdog", (("watchdog.idle_timeout", None), ("watchdog.busy_timeout", None))),
    ("listen", (("listen.host", None), ("listen.port", None), ("listen.token_file", "token"))),
    ("gateway", (("gateway.enabled", None), ("gateway.host", None), ("gateway.port", None))),
)  # fmt: skip

HEAD = """\
The configuration of Ullage on this machine, as `ullage init` found it. What is commented out is
as it is without that line: a file without any line changes nothing. Every other setting is in
deploy/reference.md; `ullage settings get` shows what is in force, `ullage config check` checks
this file.
"""
ENGINES = "Engines that answer here. Others on their usual ports are found without being named."
NO_ENGINES = "No engine answers here yet. One on its usual port is found; any other is named so:"


@dataclass(frozen=True, slots=True)
class Named:
    """An engine that was found, and what the configuration calls it."""

    name: str
    kind: str
    url: str
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """A pool of this machine, as a person calls it. Sizes in bytes."""

    id: str
    name: str
    total: Bytes
    reserve: Bytes


def named(found: Iterable[tuple[str, str, str | None]]) -> list[Named]:
    """Engines as (kind, URL, version), each with a name of its own."""
    found = list(found)
    kinds = [kind for kind, _, _ in found]
    return [
        Named(
            kind if kinds.count(kind) == 1 else f"{kind}-{url.rpartition(':')[2].strip('/')}",
            kind,
            url,
            version,
        )
        for kind, url, version in found
    ]


def text(engines: Sequence[Named], pools: Sequence[Memory]) -> str:
    """Valid as it is, and with any of its settings no longer commented out."""
    parts = [_comment(HEAD)]
    if pools:
        parts.append(_comment("Memory: " + "; ".join(f"{p.name} {size(p.total)}" for p in pools)))
    parts += [_table(table, rows) for table, rows in SHOWN]
    parts.append("\n".join(_engines(engines)))
    parts += [_pool(pool) for pool in pools]
    parts.append(_MODELS)
    return "\n\n".join(parts) + "\n"


_MODELS = """\
# Of single models, by their names or patterns: never to leave, or what one takes that was never
# loaded here.
#[models."ollama/NAME"]
#pinned = true
#memory = "6GiB\""""


def _table(table: str, rows: Iterable[tuple[str, str | None]]) -> str:
    lines = [f"[{table}]"] if table else []
    by_key = {s.key: s for s in SETTINGS}
    for key, example in rows:
        setting = by_key[key]
        usual = example is not None and setting.default not in ("none", "not set")
        lines.append(_comment(setting.help + ("" if not usual else f" Usual: {setting.default}.")))
        lines.append(f"#{setting.path[-1]} = {_value(example or setting.default)}")
    return "\n".join(lines)


def _value(shown: str) -> str:
    """As TOML: whole numbers and switches as they are, everything else as a text."""
    return shown if shown in ("true", "false") or shown.isdecimal() else json.dumps(shown)


def _engines(engines: Sequence[Named]) -> Iterator[str]:
    yield _comment(ENGINES if engines else NO_ENGINES)
    for engine in engines:
        yield f"[engines.{engine.name}]" + _after(engine.version)
        yield f"kind = {json.dumps(engine.kind)}"
        yield f"url = {json.dumps(engine.url)}"
    if not engines:
        yield '#[engines.mine]\n#kind = "llamacpp"\n#url = "http://127.0.0.1:8080"'


def _after(version: str | None) -> str:
    """Behind what is set. An engine may call its version whatever it likes."""
    return f"  # {printable(version)[:LONGEST]}" if version else ""


def _pool(pool: Memory) -> str:
    return "\n".join(
        (
            _comment(f"{pool.name}: what is never handed out of its {size(pool.total)}."),
            printable(f"#[{dotted(('pools', pool.id))}]"),
            f'#reserve = "{max(1, pool.reserve >> 20)}MiB"',
        )
    )


def _comment(said: str) -> str:
    lines = textwrap.wrap(printable(" ".join(said.split())), WIDTH - 2, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)
