"""What is answered to a wish for a model, as rows; and the last of them, for whoever asks why."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn
from uuid import uuid4

from supervisor.fleet.decided import CHOSEN, Note, Why
from supervisor.fleet.explain import of_note

Row = dict[str, Any]
KEPT: Final = 200


class Refused(Exception):
    """Not now, or not at all: `body` is what the client is told, with the HTTP `status`."""

    def __init__(self, status: int, body: Row) -> None:
        super().__init__(body["detail"])
        self.status, self.body = status, body


@dataclass(slots=True)
class Told:
    """`wall` gives Unix time, for people. `counts`: how many there were, by what came of them."""

    wall: Callable[[], float]
    counts: Counter[str] = field(default_factory=Counter)
    _rows: deque[Row] = field(default_factory=lambda: deque(maxlen=KEPT))

    def note(
        self,
        model: str,
        host: str | None,
        said: list[str],
        notes: Iterable[Note],
        dry: bool,
        code: str = "",
    ) -> str:
        """Keep it. Its id. `dry`: nobody was sent there, and it is not counted; `code`: why it was
        refused, where it was."""
        notes, id = tuple(notes), uuid4().hex[:12]
        if not dry:
            self.counts[code or _result(host, notes)] += 1
        row = {"id": id, "at": self.wall(), "model": model, "host": host, "dry": dry}
        row["sentences"] = said
        self._rows.appendleft({**row, "notes": rows(notes)})
        return id

    def of(self, models: Collection[str] | None, limit: int) -> list[Row]:
        """The latest first; of what is called so, or of all."""
        found = [
            r for r in self._rows if models is None or any(_same(r["model"], m) for m in models)
        ]
        return found[:limit]

    def refuse(
        self,
        status: int,
        code: str,
        model: str,
        said: list[str],
        notes: Sequence[Note],
        dry: bool,
        **more: Any,
    ) -> NoReturn:
        self.note(model, None, said, notes, dry, code)
        body = {"code": code, "detail": said[0], "sentences": said, "notes": rows(notes), **more}
        raise Refused(status, body)


def _result(host: str | None, notes: Iterable[Note]) -> str:
    """How it was placed: "ready", "coming", "load", or "alone" where there was no choice."""
    why = next((n.why for n in notes if n.host == host and n.why in CHOSEN), None)
    return "alone" if why is None else "load" if why is Why.LEAST_LOSS else why.value


def rows(notes: Iterable[Note]) -> list[Row]:
    return [
        {"host": n.host, "why": n.why.value, "sentence": of_note(n)}
        | ({} if n.loss is None else {"loss": n.loss})
        for n in notes
    ]


def _same(one: str, other: str) -> bool:
    """With its engine or without."""
    return one == other or one.rpartition("/")[2] == other.rpartition("/")[2]
