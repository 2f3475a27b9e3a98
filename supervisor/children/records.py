"""What must be known of a child after the daemon has ended: a small file for each, in one folder.

It is written before the child may do anything, and removed when the child is gone with all that
it started. Nothing in it is secret: of its command there is a fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

log = logging.getLogger("ullage.children")

MOST = 64 << 10  # bytes: an honest record has 400
# No link is followed, and nobody waited for at the other end of a pipe.
AS_IT_IS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
KEPT = 3  # unreadable ones of each name


@dataclass(frozen=True, slots=True)
class Record:
    """`started` is as kin.birth has it, `boot` as kin.boot; `fingerprint` is of what was to be run.
    `group` is the folder of its control group."""

    model: str
    mark: str
    pid: int
    started: int
    boot: str
    port: int
    fingerprint: str
    program: str
    group: str | None = None


_NUMBERS = ("pid", "started", "port")
_TYPES: dict[str, tuple[type, ...]] = {
    f.name: (int,) if f.name in _NUMBERS else (str,) for f in fields(Record)
}
_TYPES["group"] = (str, type(None))


class Records:
    """The records of one engine, in `folder`. Reading never fails; writing raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def name(self) -> str:
        """What begins the marks of all children that were ever started from this folder: another
        daemon's, with a folder of the same path in another container, begin otherwise."""
        file = self._folder / "name"
        with suppress(OSError, ValueError):
            found = file.read_text(encoding="ascii").strip()
            if re.fullmatch(r"[0-9a-f]{16}", found):
                return found
        found = secrets.token_hex(8)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        rewrite(file, f"{found}\n".encode())
        return found

    def write(self, record: Record) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = json.dumps(asdict(record), indent=1) + "\n"
        rewrite(self._file(record.model), text.encode())

    def remove(self, record: Record) -> None:
        """If it is still about the same run."""
        file = self._file(record.model)
        found = _read(file)
        if found is not None and found.mark == record.mark:
            with suppress(OSError):
                file.unlink()

    def read(self) -> list[Record]:
        """All of them. One that cannot be read is set aside, and said."""
        found = []
        for file in sorted(self._folder.glob("*.json")):
            record = _read(file)
            if record is None:
                self._set_aside(file)
            else:
                found.append(record)
        return found

    def log_file(self, model: str) -> Path:
        return self._folder / f"{slug(model)}.log"

    def _file(self, model: str) -> Path:
        return self._folder / f"{slug(model)}.json"

    def _set_aside(self, file: Path) -> None:
        for number in range(1, KEPT + 1):
            aside = file.with_suffix(f".bad-{number}")
            if not aside.exists() or number == KEPT:
                with suppress(OSError):
                    file.replace(aside)
                    log.warning("%s cannot be read; it is kept as %s", file, aside.name)
                return


def fingerprint(*parts: Any) -> str:
    """The same for the same parts: texts, numbers, None, and mappings and sequences of them."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def slug(model: str) -> str:
    """A model's name as the name of a file: readable, and never that of another."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip(".-")[:60]
    return f"{plain or 'model'}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def folders(base: Path, besides: Sequence[str]) -> list[Path]:
    """The folders of engines that have been, below `base`, and are none of `besides`."""
    try:
        with os.scandir(base) as entries:
            found = (e for e in entries if e.is_dir(follow_symlinks=False))
            return [Path(e.path) for e in found if e.name not in besides]
    except OSError:
        return []


def _read(file: Path) -> Record | None:
    try:
        with open(os.open(file, AS_IT_IS), "rb") as opened:
            told = json.loads(opened.read(MOST))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or told.keys() != _TYPES.keys():
        return None
    if not all(isinstance(told[k], t) and told[k] is not True for k, t in _TYPES.items()):
        return None
    return Record(**told) if told["pid"] > 1 and told["started"] >= 0 else None


def rewrite(file: Path, data: bytes) -> None:
    """All of it or nothing, whatever happens meanwhile. Raises OSError."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)  # a link there would be followed
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(data)
    fresh.replace(file)
