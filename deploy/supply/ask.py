"""Asks pip which versions fit together, and the package index for the hashes of all their files.

The only part that needs a net. Where the index is, pip knows; pip is never asked to build
anything: what has no wheel is refused.
"""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from packaging.requirements import Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version

from .known import BUILD, CORE, PARTS, ROOT, Package, missing, wanted
from .licences import expression
from .locks import file_of

PATIENCE = 60.0  # seconds
LEAST_PIP = Version("25.1")
ROUNDS = 10  # until nothing is missing in any environment: two have been enough


class CannotLock(Exception):
    """The message says which package, and why."""


class Page(HTMLParser):
    """A page of a package index, as every index has it: files with their hashes."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag != "a" or "data-yanked" in told:
            return
        url = urlsplit(told.get("href") or "")
        kind, _, digest = url.fragment.partition("=")
        if kind == "sha256":
            self.files[unquote(url.path.rpartition("/")[2])] = digest


def ask(root: Path = ROOT) -> list[Package]:
    """The newest versions that fit the project's ranges in every environment. Raises CannotLock."""
    index = _index()
    wants = wanted(root)
    build = {canonicalize_name(want.name) for want in wants[BUILD]}
    runs = [want for part, asked in wants.items() if part != BUILD for want in asked]
    found: dict[str, Package] = {}
    for asked in (runs, wants[BUILD]):
        # What other systems and versions of Python need besides is asked for by name.
        added: list[Requirement] = []
        for _ in range(ROUNDS):
            fresh = {p.name: p for p in _resolved([*asked, *added], found)}
            found = fresh | found
            lacks = missing(found, root)
            if asked is runs:
                lacks = [want for want in lacks if canonicalize_name(want.name) not in build]
            if not lacks:
                break
            added += [_unmarked(want) for want in lacks]
        else:
            raise CannotLock(f"these fit nowhere: {', '.join(map(str, lacks))}")
    return [_with_files(index, package) for package in found.values()]


def resolve(root: Path = ROOT, *how: str, parts: Iterable[str] = PARTS) -> list[str]:
    """What pip says against the lock files: each is resolved for this system by its hashes alone,
    as an installation is, and nothing is installed. `how`: further words for pip."""
    wrong = []
    for part in parts:
        beside = () if part in (CORE, BUILD) else (CORE,)  # an extra adds to what all have
        files = [file_of(each, root) for each in (*beside, part)]
        words = [word for file in files for word in ("-r", str(file))]
        try:
            _pip(
                *("install", "--dry-run", "--quiet", "--ignore-installed", "--require-hashes"),
                *("--only-binary", ":all:", *how, *words),
            )
        except CannotLock as error:
            wrong.append(f"{file_of(part, root).name}: {error}")
    return wrong


def _unmarked(want: Requirement) -> Requirement:
    extras = f"[{','.join(sorted(want.extras))}]" if want.extras else ""
    return Requirement(f"{want.name}{extras}{want.specifier}")


def _environment() -> dict[str, str]:
    """Folders of wheels that this machine may have are nobody else's."""
    return {k: v for k, v in os.environ.items() if k != "PIP_FIND_LINKS"}


def _pip(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, env=_environment()
    )
    if done.returncode:
        raise CannotLock(f"pip says: {done.stderr.strip()[-2000:]}")
    return done.stdout


def _index() -> str:
    """Where pip looks, as it is configured here."""
    said = _pip("install", "--help")
    found = re.search(r"--index-url <url>.*?\(default\s+(\S+?)\)", said, re.DOTALL)
    if found is None:
        raise CannotLock("pip does not say where its package index is")
    return found[1].rstrip("/")


def _resolved(asked: Iterable[Requirement], held: Mapping[str, Package]) -> list[Package]:
    with tempfile.TemporaryDirectory() as folder:
        report, held_file = Path(folder, "report.json"), Path(folder, "held.txt")
        held_file.write_text("".join(f"{p.name}=={p.version}\n" for p in held.values()))
        _pip(
            *("install", "--dry-run", "--quiet", "--ignore-installed"),
            *("--only-binary", ":all:", "--report", str(report), "-c", str(held_file)),
            *map(str, asked),
        )
        told: dict[str, Any] = json.loads(report.read_text())
    if Version(told["pip_version"]) < LEAST_PIP:
        raise CannotLock(f"pip {told['pip_version']} does not tell licences; {LEAST_PIP} does")
    return [_package(row["metadata"]) for row in told["install"]]


def _package(metadata: Mapping[str, Any]) -> Package:
    return Package(
        name=canonicalize_name(metadata["name"]),
        version=metadata["version"],
        summary=metadata.get("summary", ""),
        licence=expression(metadata),
        python=metadata.get("requires_python", ""),
        requires=tuple(sorted(metadata.get("requires_dist", ()))),
    )


def _with_files(index: str, package: Package) -> Package:
    asked = Request(f"{index}/{package.name}/", headers={"Accept": "text/html"})
    trust = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    page = Page()
    with urlopen(asked, timeout=PATIENCE, context=trust) as answer:
        page.feed(answer.read().decode())
    files = {n: h for n, h in page.files.items() if _version(n) == Version(package.version)}
    if not files:
        raise CannotLock(f"the index has no hash of {package.name} {package.version}")
    return Package(
        package.name,
        package.version,
        package.summary,
        package.licence,
        package.python,
        package.requires,
        dict(sorted(files.items())),
    )


def _version(filename: str) -> Version | None:
    for parse in (parse_wheel_filename, parse_sdist_filename):
        try:
            return parse(filename)[1]
        except (InvalidWheelFilename, InvalidSdistFilename):
            continue
    return None  # an installer for Windows, an egg
