"""What changed from one word to the next, as plain JSON: sent each second in place of it all.

A host with a hundred models of which two work says two. Whoever lacks the word before asks for all
of it: a change is only believed on top of the very word that it was made from.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .checked import Checked
from .hosts import Housed, Word
from .words import housed_row, part_row, read_housed, read_word, space_row, word_row

Row = dict[str, Any]
PLAIN = ("version", "address", "rests")
SENT = (*PLAIN, "spaces", "parts", "number", "wall")


def change_row(before: Word, after: Word) -> Row:
    """`after`, told to somebody who has `before`. Raises ValueError where it does not follow it."""
    if (before.host, before.epoch) != (after.host, after.epoch) or after.number <= before.number:
        raise ValueError(f"{after.host}: word {after.number} does not follow {before.number}")
    row: Row = {
        "host": after.host,
        "epoch": after.epoch,
        "number": after.number,
        "after": before.number,
        "wall": after.wall,
    }
    for key in PLAIN:
        if getattr(before, key) != getattr(after, key):
            row[key] = getattr(after, key)
    if before.spaces != after.spaces:
        row["spaces"] = [space_row(s) for s in after.spaces]
    if before.parts != after.parts:
        row["parts"] = [part_row(p) for p in after.parts]
    if before.models is not after.models and before.models != after.models:
        known = {_key(m): m for m in before.models}
        now = {_key(m) for m in after.models}
        if told := [housed_row(m) for m in after.models if known.get(_key(m)) != m]:
            row["models"] = told
        if gone := [list(key) for key in known if key not in now]:
            row["gone"] = gone
    return row


def read_change(row: object, before: Word | None) -> Word:
    """The word that `row` tells of. Raises ValueError for what is wrong with it, and LookupError
    where `before` is not the word that it was made from: then all of the word is needed."""
    r = Checked(row, "change")
    host, epoch, after = r.text("host"), r.text("epoch"), r.whole("after")
    if r.whole("number") <= after:
        raise ValueError(f"change of {host}: its number has to be above {after}")
    if before is None or (before.host, before.epoch, before.number) != (host, epoch, after):
        raise LookupError(f"{host}: word {after} is not here, from which its change was made")
    assert isinstance(row, dict)
    whole = word_row(replace(before, models=())) | {k: row[k] for k in SENT if k in row}
    gone = set(r.each("gone", _read_key))
    models = {_key(m): m for m in before.models if _key(m) not in gone}
    models |= {_key(m): m for m in r.each("models", read_housed)}
    return replace(read_word(whole, "change"), models=tuple(models.values()))


def _key(housed: Housed) -> tuple[str, str]:
    return housed.engine, housed.name


def _read_key(row: object, where: str) -> tuple[str, str]:
    if not isinstance(row, list) or len(row) != 2 or not all(isinstance(p, str) for p in row):
        raise ValueError(f"{where} has to be the engine and the name of a model")
    return row[0], row[1]
