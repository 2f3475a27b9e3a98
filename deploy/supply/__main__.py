"""Writes lock files, the table of licences and the bill of materials, and checks them.

`python -m deploy.supply` writes them from packages.json, without a net; `--renew` asks the package
index for the newest versions before; `--check` writes nothing, and ends with 1 where a file is not
what it should be. `--resolve` has pip install from the lock files without installing anything: does
all that they name exist, with these hashes, and is nothing missing? That takes a net.
`--advisories FILE` says what a file of OSV advisories has against what is locked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from . import advisories, floors, known, licences, locks, sbom
from .ask import CannotLock, ask, resolve
from .known import ROOT, Package


def files(packages: Mapping[str, Package], root: Path = ROOT) -> dict[Path, str]:
    """Everything that is written from `packages`."""
    needs = known.needed(packages, root)
    return {
        **locks.texts(packages, root),
        root / "deploy/licences.md": licences.table(packages, needs),
        root / "deploy/sbom.json": sbom.text(packages, needs),
    }


def complaints(packages: Mapping[str, Package], root: Path = ROOT) -> list[str]:
    """What is wrong with `packages` themselves."""
    wrong = locks.complaints(packages, root)
    runs = known.run_time(known.needed(packages, root))
    wants = [want for asked in known.wanted(root).values() for want in asked]
    return wrong + licences.complaints(packages, runs) + floors.complaints(packages, wants)


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.supply", description=__doc__)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--renew", action="store_true", help="ask the package index first")
    how.add_argument("--check", action="store_true", help="say whether all is as it should be")
    how.add_argument("--resolve", action="store_true", help="ask pip about the lock files")
    how.add_argument("--advisories", metavar="FILE", type=Path, help="OSV advisories, or a zip")
    given = parser.parse_args(arguments)
    if given.resolve:
        against = resolve(root)
        print("\n".join(against) or f"{len(known.PARTS)} lock files resolve")
        return int(bool(against))
    own = root / "deploy/supply/packages.json"
    if given.renew:
        try:
            text = known.written(ask(root))
        except CannotLock as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        own.write_text(text)
    packages = known.read(own)
    if given.advisories:
        try:
            against = advisories.complaints(packages, advisories.read(given.advisories))
        except advisories.BadAdvisories as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print("\n".join(against) or f"nothing is said against the {len(packages)} that are locked")
        return int(bool(against))
    wrong = complaints(packages, root)
    if wrong:  # what is written from it would be no better
        print("\n".join(wrong))
        return 1
    stale = {p: t for p, t in files(packages, root).items() if not p.exists() or p.read_text() != t}
    for path, text in stale.items():
        if given.check:
            print(f"{path.relative_to(root)} is not what it should be; write it with `make supply`")
        else:
            path.write_text(text)
    return 1 if stale and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
