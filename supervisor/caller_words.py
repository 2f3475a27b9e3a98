"""Tokens in words: which there are, what they may do, when they were used. Values in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .units import format_seconds

Row = Mapping[str, Any]

SOME = 8  # tokens that are told one by one


def in_short(callers: Row | None, now: float) -> Iterator[tuple[str, bool]]:
    """Of `callers` as the state has them: lines, and whether each is a warning."""
    rows = [] if callers is None else callers["tokens"]
    over = [row for row in rows if is_over(row, now)]
    good = [row for row in rows if not is_over(row, now)]
    if good:
        told = [f"{row['name']} ({', '.join(row['scopes'])}), {used(row, now)}" for row in good]
        more = [f"{len(told) - SOME} more"] if len(told) > SOME else []
        yield f"tokens: {'; '.join(told[:SOME] + more)}", False
    for row in over:
        ago = format_seconds(now - row["expires"])
        yield f"token {row['name']} expired {ago} ago (`ullage token` makes another)", True


def is_over(row: Row, now: float) -> bool:
    return row["expires"] is not None and now >= row["expires"]


def used(row: Row, now: float) -> str:
    if row["used_at"] is None:
        return "not used yet"
    return f"used {format_seconds(max(0.0, now - row['used_at']))} ago"
