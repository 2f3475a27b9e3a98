"""What a file of advisories says against what is locked. They are as OSV writes them:
one, a list, or a zip of many, as it is offered for all of PyPI. Read where it lies, without a net.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from .known import Package

Advisory = Mapping[str, Any]


class BadAdvisories(Exception):
    """The message says which file, and what is wrong with it."""


def read(file: Path) -> Iterator[Advisory]:
    """Raises BadAdvisories."""
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                names = [name for name in packed.namelist() if name.endswith(".json")]
                yield from (told for name in names for told in _told(packed.read(name)))
        else:
            yield from _told(file.read_bytes())
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadAdvisories(f"{file} is no file of OSV advisories: {error}") from error


def _told(content: bytes) -> Iterator[Advisory]:
    """Raises ValueError."""
    found = json.loads(content)
    if isinstance(found, dict) and "vulns" in found:
        found = found["vulns"]
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, dict) or not isinstance(one.get("id"), str):
            raise ValueError("an advisory is an object with an id")
        yield one


def complaints(packages: Mapping[str, Package], advisories: Iterable[Advisory]) -> list[str]:
    """Of each package that one speaks of in the version that is locked."""
    said: set[str] = set()
    for advisory in advisories:
        if advisory.get("withdrawn"):
            continue
        for affected in advisory.get("affected", ()):
            of = affected.get("package", {})
            package = packages.get(canonicalize_name(str(of.get("name", ""))))
            if of.get("ecosystem") != "PyPI" or package is None:
                continue
            if _is_meant(Version(package.version), affected):
                why = str(advisory.get("summary") or "no summary")
                said.add(f"{package.name} {package.version}: {_names(advisory)}: {why}")
    return sorted(said)


def _names(advisory: Advisory) -> str:
    return ", ".join(map(str, (advisory["id"], *advisory.get("aliases", ()))))


def _is_meant(version: Version, affected: Advisory) -> bool:
    if any(_version(text) == version for text in affected.get("versions", ())):
        return True
    ranges = (r for r in affected.get("ranges", ()) if r.get("type") in ("ECOSYSTEM", "SEMVER"))
    return any(_is_within(version, found.get("events", ())) for found in ranges)


def _is_within(version: Version, events: Iterable[Mapping[str, str]]) -> bool:
    """By the last event at or below it; one that names the last bad version holds above that."""
    known = []
    for event in events:
        for kind, text in event.items():
            at = Version("0.dev0") if text == "0" else _version(text)
            if at is not None and kind in _BEGINS:
                known.append((at, _BEGINS[kind], kind))
    bad = False
    for at, begins, kind in sorted(known):
        if at < version or (at == version and kind != "last_affected"):
            bad = begins
    return bad


_BEGINS = {"introduced": True, "fixed": False, "last_affected": False}


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None  # of a time before versions were written alike
