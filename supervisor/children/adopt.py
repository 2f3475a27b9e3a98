"""What became of the children that an earlier daemon has written down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path

from . import kin
from .cgroup import PREFIX
from .handle import Handle
from .records import Record


class Fate(Enum):
    VOID = "it was of another boot: all of it has ended, and its pid may be anybody's"
    OVER = "it has ended, and may have left others"
    ADOPTED = "it runs, and is what would be started today"
    UNWANTED = "it runs, and is to end"


def look_back(
    records: Iterable[Record], wanted: Mapping[str, str]
) -> Iterator[tuple[Record, Fate, Handle | None]]:
    """The fate of each, and the process where it runs. `wanted`: who may be adopted, as model →
    fingerprint."""
    for written in records:
        record = written if _is_its_group(written) else replace(written, group=None)
        if record.boot != kin.boot():
            yield record, Fate.VOID, None
            continue
        handle = _found(record)
        if handle is None:
            yield record, Fate.OVER, None
        elif wanted.get(record.model) == record.fingerprint:
            yield record, Fate.ADOPTED, handle
        else:
            yield record, Fate.UNWANTED, handle


def _found(record: Record) -> Handle | None:
    try:
        handle = Handle(record.pid, record.started, ours=False)
    except ProcessLookupError:
        return None
    if handle.has_ended():
        handle.close()
        return None
    return handle


def _is_its_group(record: Record) -> bool:
    """A group is killed as a whole: one of another name is none of ours."""
    return record.group is not None and Path(record.group).name == f"{PREFIX}{record.mark}"
