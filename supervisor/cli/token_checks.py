"""What the doctor says of tokens. Values in, checks out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from supervisor.caller_words import is_over, used
from supervisor.config.entrusted import ADMIN
from supervisor.units import format_seconds

from .checkup import SOON, Check, File, Status

ABOUT = "tokens"
UNUSED = 7 * 86400.0  # seconds of a daemon's life in which a token that is needed is used once


def examine(
    rows: Iterable[Mapping[str, Any]], now: float, up: float, files: Iterable[File] = ()
) -> Iterator[Check]:
    """`rows` as the state has them, `now` in Unix time, `up` the seconds that the daemon has run,
    `files` those that hold a token."""
    good = []
    for row in rows:
        name, scopes, end = row["name"], row["scopes"], row["expires"]
        makes = f"`ullage token {name}-2 --scope {scopes[0] if scopes else 'read'}`"
        if is_over(row, now):
            what = f"{name} expired {format_seconds(now - end)} ago"
            yield Check(ABOUT, Status.WARN, what, f"take it out of the configuration; {makes}")
            continue
        good.append(f"{name} ({', '.join(scopes)}), {used(row, now)}")
        alone = all(scope.startswith("alerts:") for scope in scopes)  # what is said of alerts tells
        if end is not None and end - now < SOON and not alone:
            what = f"{name} expires in {format_seconds(end - now)}"
            yield Check(ABOUT, Status.WARN, what, f"make another beside it: {makes}")
        if row["used_at"] is None and up > UNUSED:
            may = " and may do everything" if ADMIN in scopes else ""
            what = f"{name} was not used in the {format_seconds(up)} that the daemon has run{may}"
            yield Check(ABOUT, Status.WARN, what, "take it out, if nobody needs it")
    for file in files:
        if file.mode & 0o007:
            what = f"{file.path} holds one and is open to everybody (mode {file.mode & 0o777:o})"
            yield Check(ABOUT, Status.FAIL, what, f"chmod 640 {file.path}, and make another token")
    if good:
        yield Check(ABOUT, Status.OK, "; ".join(good))
