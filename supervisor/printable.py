"""What strangers say, so that it can stand on one line of a log, a table or a terminal: a model may
be called "\\x1b[2J". Standard library only: every command starts with this."""

from __future__ import annotations


def printable(text: object, instead: str | None = None) -> str:
    """`text` on one line. What cannot be shown is written as an escape, or is `instead`: one that
    is empty leaves it out."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _shown(c, instead) for c in text)


def _shown(character: str, instead: str | None) -> str:
    return character.encode("unicode_escape").decode() if instead is None else instead
