"""Under which licences all of it comes. One that is not known to be harmless is refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from .known import BUILD, CORE, EXTRAS, Package, Where, run_time

# What asks nothing of those who use or pass on Ullage but to name the authors. MPL-2.0 asks that
# changes to its own files be published; none of them is changed here.
PERMITTED = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BlueOak-1.0.0", "ISC", "MIT", "MIT-0"}
    | {"MPL-2.0", "PSF-2.0", "Python-2.0", "Unlicense"}
)

# What packages say that do not use SPDX's words yet.
_BY_CLASSIFIER = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
_BY_WORD = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "mit license": "MIT",
}
_CLASSIFIER = "License :: OSI Approved :: "
UNKNOWN = "unknown"


def expression(metadata: Mapping[str, Any]) -> str:
    """A package's licence by its own metadata, as SPDX has it where that can be told."""
    text = metadata.get("license_expression") or ""
    said = (metadata.get("license") or "").strip()
    classified = [
        c.removeprefix(_CLASSIFIER)
        for c in metadata.get("classifier", ())
        if c.startswith(_CLASSIFIER)
    ]
    known = [_BY_CLASSIFIER.get(c, c) for c in classified]
    for candidate in (text, said, _BY_WORD.get(said.lower(), ""), " AND ".join(known)):
        try:
            if candidate:
                return str(canonicalize_license_expression(candidate))
        except InvalidLicenseExpression:
            continue
    return " AND ".join(known) or said.partition("\n")[0][:80] or UNKNOWN


def permitted(licence: str) -> bool:
    """Of `A OR B` one must be, of `A AND B` both."""
    words = re.findall(r"\(|\)|[^\s()]+", licence)
    try:
        value, rest = _either(words)
    except (IndexError, ValueError):  # it ends too soon
        return False
    return value and not rest


def _either(words: list[str]) -> tuple[bool, list[str]]:
    value, rest = _both(words)
    while rest[:1] == ["OR"]:
        other, rest = _both(rest[1:])
        value = value or other
    return value, rest


def _both(words: list[str]) -> tuple[bool, list[str]]:
    value, rest = _one(words)
    while rest[:1] == ["AND"]:
        other, rest = _one(rest[1:])
        value = value and other
    return value, rest


def _one(words: list[str]) -> tuple[bool, list[str]]:
    first, *rest = words
    if first != "(":
        return (first in PERMITTED, rest)  # "X WITH Y" leaves words over: not permitted
    value, rest = _either(rest)
    return value and rest[0] == ")", rest[1:]


def complaints(packages: Mapping[str, Package], names: Iterable[str]) -> list[str]:
    """Of what runs with Ullage."""
    return [
        f"{name} {packages[name].version} comes under {packages[name].licence}, which is not among"
        " those that are permitted"
        for name in sorted(names)
        if not permitted(packages[name].licence)
    ]


def table(packages: Mapping[str, Package], needs: Mapping[str, Mapping[str, set[Where]]]) -> str:
    """As Markdown, the packages of each part in the order of their names."""
    lines = [
        "# Licences",
        "",
        "Every package that an installation may bring along, by its own metadata; written by"
        " `make supply`. What runs with Ullage",
        "must come under one of these: " + ", ".join(sorted(PERMITTED)) + ".",
        "",
        "| package | version | licence | needed by |",
        "|---|---|---|---|",
    ]
    runs = run_time(needs)
    for name in sorted(runs | set(needs[BUILD])):
        package = packages[name]
        parts = [p for p in (CORE, *EXTRAS, BUILD) if name in needs[p]]
        shown = ", ".join(
            p if p == CORE else f"`[{p}]`" if p in EXTRAS else "the build" for p in parts
        )
        lines.append(f"| {name} | {package.version} | {package.licence} | {shown} |")
    return "\n".join(lines) + "\n"
