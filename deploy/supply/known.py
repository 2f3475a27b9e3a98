"""What an installation of Ullage is made of: every package that it may bring along, at one
version, as `packages.json` has it. From that file all others are written, without a net."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = Path(__file__).with_name("packages.json")

CORE = "ullage"  # what every installation has; the others are extras of the project
EXTRAS = ("systemd", "kubernetes", "otel", "fleet")
BUILD = "build"  # what makes the wheel
PARTS = (CORE, *EXTRAS, BUILD)

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# By sys.platform: os.name, platform.system(), and the machines.
PLATFORMS = {
    "linux": ("posix", "Linux", ("x86_64", "aarch64")),
    "darwin": ("posix", "Darwin", ("x86_64", "arm64")),
    "win32": ("nt", "Windows", ("AMD64",)),
}

Environment = Mapping[str, str]
Where = tuple[str, str]  # sys.platform, and the version of Python
WHERE: tuple[Where, ...] = tuple(product(PLATFORMS, PYTHONS))  # Ullage may be installed


@dataclass(frozen=True, slots=True)
class Package:
    """`requires` is its Requires-Dist; `files` are all of this version's, with their SHA-256;
    `licence` is an SPDX expression, or what stood in its place."""

    name: str
    version: str
    summary: str
    licence: str
    python: str  # its Requires-Python, or nothing
    requires: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def environments(where: Where) -> Iterator[Environment]:
    """What markers ask for, on each machine of a platform."""
    platform, python = where
    os_name, system, machines = PLATFORMS[platform]
    for machine in machines:
        yield {
            "implementation_name": "cpython",
            "implementation_version": f"{python}.0",
            "os_name": os_name,
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": system,
            "platform_version": "",
            "python_full_version": f"{python}.0",
            "python_version": python,
            "sys_platform": platform,
        }


def wanted(root: Path = ROOT) -> dict[str, list[Requirement]]:
    """What the project itself asks for, by part."""
    told = tomllib.loads((root / "pyproject.toml").read_text())
    project = told["project"]
    lists = {
        CORE: project["dependencies"],
        **{extra: project["optional-dependencies"][extra] for extra in EXTRAS},
        BUILD: told["build-system"]["requires"],
    }
    return {part: [Requirement(text) for text in texts] for part, texts in lists.items()}


def read(path: Path = PACKAGES) -> dict[str, Package]:
    """By normalised name."""
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    packages = [Package(**{**row, "requires": tuple(row["requires"])}) for row in rows]
    return {package.name: package for package in packages}


def written(packages: Iterable[Package]) -> str:
    rows = [asdict(p) for p in sorted(packages, key=lambda p: p.name)]
    return json.dumps(rows, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def reach(
    wants: Iterable[Requirement], packages: Mapping[str, Package], where: Where
) -> tuple[dict[str, set[str]], list[Requirement]]:
    """What `wants` bring along there: each package with those that it needs itself. And what of it
    no package of ours satisfies."""
    seen: set[tuple[str, str]] = set()
    found: dict[str, set[str]] = {}
    missing: list[Requirement] = []
    left: list[tuple[str, str, set[str]]] = [(str(want), "", set()) for want in wants]
    while left:
        text, extra, needs = left.pop()
        if not _applies(text, where, extra):
            continue
        want = _parsed(text)
        name = canonicalize_name(want.name)
        package = packages.get(name)
        if package is None or not want.specifier.contains(package.version, prereleases=True):
            missing.append(want)
            continue
        needs.add(name)
        own = found.setdefault(name, set())
        for each in ("", *want.extras):
            if (name, each) not in seen:
                seen.add((name, each))
                left += [(text, each, own) for text in package.requires]
    return found, missing


@cache
def _parsed(text: str) -> Requirement:
    return Requirement(text)


@cache  # by the text: to compare two requirements takes longer than all else here
def _applies(text: str, where: Where, extra: str) -> bool:
    marker = _parsed(text).marker
    if marker is None:
        return True
    return any(marker.evaluate({**e, "extra": extra}) for e in environments(where))


def links(packages: Mapping[str, Package], root: Path = ROOT) -> dict[str, set[str]]:
    """Of what runs with Ullage: what each package needs, anywhere."""
    wants = [w for part, asked in wanted(root).items() if part != BUILD for w in asked]
    found: dict[str, set[str]] = {}
    for where in WHERE:
        for name, needs in reach(wants, packages, where)[0].items():
            found.setdefault(name, set()).update(needs)
    return found


def needed(packages: Mapping[str, Package], root: Path = ROOT) -> dict[str, dict[str, set[Where]]]:
    """By part: which packages it needs, and where. Those of an extra are what it adds to CORE."""
    wants = wanted(root)
    found: dict[str, dict[str, set[Where]]] = {part: {} for part in PARTS}
    for where in WHERE:
        core, _ = reach(wants[CORE], packages, where)
        for part in PARTS:
            reached, _ = reach(wants[part], packages, where)
            for name in reached.keys() - (core.keys() if part in EXTRAS else ()):
                found[part].setdefault(name, set()).add(where)
    return found


def missing(packages: Mapping[str, Package], root: Path = ROOT) -> list[Requirement]:
    """What somebody asks for somewhere, and no package of ours satisfies."""
    found: dict[str, Requirement] = {}
    for part, wants in wanted(root).items():
        for where in WHERE:
            for want in reach(wants, packages, where)[1]:
                found.setdefault(f"{part}: {re.sub(r';.*', '', str(want)).strip()}", want)
    return list(found.values())


def run_time(needs: Mapping[str, Mapping[str, Sequence[Where] | set[Where]]]) -> set[str]:
    """Packages that run with Ullage; those that only build it are not among them."""
    return {name for part in (CORE, *EXTRAS) for name in needs[part]}
