"""The lock files: what pip installs by `--require-hashes -r`, and nothing that is not in there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from .known import CORE, PARTS, PLATFORMS, PYTHONS, ROOT, Package, Where, missing, needed

HEAD = {
    CORE: "What every installation of Ullage has.",
    "build": "What makes Ullage's wheel: for an environment of its own.",
}
# The image is built without a compiler: of each package a wheel has to be there.
IMAGE = "cp313"
MACHINES = ("x86_64", "aarch64")


def file_of(part: str, root: Path = ROOT) -> Path:
    name = "requirements.lock" if part == CORE else f"requirements-{part}.lock"
    return root / "deploy" / name


def text(part: str, packages: Mapping[str, Package], places: Mapping[str, set[Where]]) -> str:
    """One file. `places` says which packages are needed, and where."""
    says = HEAD.get(part, f"What the extra `{part}` adds to requirements.lock.")
    lines = [f"# {says} Written by `make supply`."]
    for name in sorted(places):
        package = packages[name]
        told = marker(places[name])
        pinned = f"{name}=={package.version}{f' ; {told}' if told else ''}"
        hashes = sorted(set(package.files.values()))
        lines += [f"{pinned} \\"]
        lines += [f"    --hash=sha256:{each} \\" for each in hashes[:-1]]
        lines += [f"    --hash=sha256:{hashes[-1]}"]
    return "\n".join(lines) + "\n"


def marker(places: Iterable[Where]) -> str:
    """Where a package is needed, as pip asks for it; nothing where it is needed everywhere."""
    by_platform: dict[str, tuple[str, ...]] = {}
    for platform in PLATFORMS:
        pythons = tuple(v for v in PYTHONS if (platform, v) in set(places))
        if pythons:
            by_platform[platform] = pythons
    sorts = set(by_platform.values())
    if len(sorts) == 1 and len(by_platform) == len(PLATFORMS):
        return _pythons(next(iter(sorts)))
    told = []
    for platform, pythons in by_platform.items():
        both = [f"sys_platform == '{platform}'", _pythons(pythons)]
        told.append(" and ".join(filter(None, both)))
    if len(told) > 1:
        told = [f"({each})" if " and " in each else each for each in told]
    return " or ".join(told)


def _pythons(versions: tuple[str, ...]) -> str:
    if versions == PYTHONS:
        return ""
    if versions == PYTHONS[: len(versions)]:
        return f"python_version < '{PYTHONS[len(versions)]}'"
    if versions == PYTHONS[-len(versions) :]:
        return f"python_version >= '{versions[0]}'"
    return "(" + " or ".join(f"python_version == '{v}'" for v in versions) + ")"


def texts(packages: Mapping[str, Package], root: Path = ROOT) -> dict[Path, str]:
    needs = needed(packages, root)
    return {file_of(part, root): text(part, packages, needs[part]) for part in PARTS}


def complaints(packages: Mapping[str, Package], root: Path = ROOT) -> list[str]:
    """What is wrong with `packages` beside the project's ranges, each in a sentence."""
    said = [f"nothing that is locked is {each}" for each in missing(packages, root)]
    needs = needed(packages, root)
    used = {name for places in needs.values() for name in places}
    said += [f"{name} is locked, and nobody needs it" for name in sorted(set(packages) - used)]
    for name in sorted(used):
        package = packages[name]
        who = f"{name} {package.version}"
        takes = SpecifierSet(package.python)
        for python in PYTHONS:
            if not takes.contains(f"{python}.99"):
                said.append(f"{who} is not for Python {python}")
        said += [
            f"{who} has no wheel for {IMAGE} on Linux, {machine}"
            for machine in MACHINES
            if ("linux", "3.13") in _everywhere(needs, name) and not _has_wheel(package, machine)
        ]
    return said


def _everywhere(needs: Mapping[str, Mapping[str, set[Where]]], name: str) -> set[Where]:
    return set().union(*(places.get(name, set()) for places in needs.values()))


def _has_wheel(package: Package, machine: str) -> bool:
    for filename in package.files:
        try:
            tags = parse_wheel_filename(filename)[3]
        except InvalidWheelFilename:
            continue
        for tag in tags:
            fits = tag.platform == "any" or (
                tag.platform.startswith("manylinux") and tag.platform.endswith(f"_{machine}")
            )
            if fits and _fits_image(tag.interpreter, tag.abi):
                return True
    return False


def _fits_image(interpreter: str, abi: str) -> bool:
    if interpreter.startswith("py3") or interpreter == IMAGE:
        return interpreter != IMAGE or abi in (IMAGE, "abi3", "none")
    older = interpreter.startswith("cp3") and int(interpreter[3:] or 0) <= int(IMAGE[3:])
    return older and abi == "abi3"
