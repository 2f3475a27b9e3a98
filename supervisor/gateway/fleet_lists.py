"""Models of other hosts in lists of models, beside this host's, and which hosts have each: where an
API has a place for that.

What is the same under the same name is one entry: whoever asks for it is sent where it is best.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from supervisor.core.snapshot import ModelRef

from .placing import Fleet, Model, Word

Row = dict[str, Any]
Found = tuple[Word, Model]


class Others:
    """`visible` says which models a client may use."""

    def __init__(self, fleet: Fleet, visible: Any) -> None:
        self._own = fleet.own
        self.models: dict[str, list[Found]] = {}
        for word in sorted(fleet.others(), key=lambda w: w.host):
            for model in word.models:
                if visible(model.ref, model.name):
                    self.models.setdefault(model.name, []).append((word, model))
        for found in self.models.values():
            found.sort(key=lambda f: not f[1].ready)

    def mark(self, rows: Iterable[Row]) -> None:
        """Entries of this host's models tell which other hosts have the same."""
        for row in rows:
            about = row["ullage"]
            others = (w.host for w, _ in self.models.get(about["model"], ()))
            about["hosts"] = list(dict.fromkeys((self._own, *others)))

    def beside(self, rows: Iterable[Row], key: str = "id") -> list[tuple[str, list[Found]]]:
        """Models that only others have: names, and who has them."""
        known = {row[key] for row in rows} | {row["ullage"]["model"] for row in rows}
        return [(name, found) for name, found in sorted(self.models.items()) if name not in known]


def about(found: list[Found]) -> Row:
    """What is told of a model of other hosts: of the one that is ready, if there is one."""
    _, model = found[0]
    return {
        "engine": model.engine,
        "model": model.name,
        "state": model.status,
        "size": model.size,
        "hosts": list(dict.fromkeys(w.host for w, _ in found)),
    }


def ref_of(found: list[Found]) -> ModelRef:
    return found[0][1].ref


def remote(found: list[Found]) -> Row:
    """Ollama's words for a model that is on another machine."""
    word, model = found[0]
    return {"remote_host": word.address, "remote_model": f"{model.engine}/{model.name}"}
