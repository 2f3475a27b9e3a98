"""What a described engine answered, read by the JSONPaths of its description.

Every value goes through the same checks as any engine's answer; a complaint names the key of
the description and its path: state ($.status).
"""

from __future__ import annotations

from collections.abc import Sequence

from collectors.reading import Bytes
from supervisor.config.described import Description
from supervisor.config.described_forms import ANY, COUNTS, KEY, NAME, PICK, word
from supervisor.config.table import form_of
from supervisor.config.templates import compile_path, fill, has_members, select
from supervisor.core.snapshot import ModelId, State
from supervisor.units import UnitError, parse_size, shown

from .answer import Json
from .base import EngineConfused, EngineModel, Process

STATES = {
    "loaded": State.LOADED,
    "loading": State.LOADING,
    "sleeping": State.SLEEPING,
    "unloaded": None,
}
PICKS = [
    key for key in Description.model_fields if form_of(Description, key) in (PICK, NAME, COUNTS)
]


class Picked:
    """Reads answers; each JSONPath is compiled once."""

    def __init__(self, told: Description) -> None:
        self._told = told
        texts = {key: getattr(told, key) for key in PICKS}
        # The rest is a key, or the names of metrics.
        self._texts = {k: t for k, t in texts.items() if isinstance(t, str) and t != KEY}
        self._paths = {key: compile_path(text) for key, text in self._texts.items()}
        self._words = {w: STATES[state] for w, state in told.states().items()}
        self._unit = told.bytes_unit

    def entries(
        self, answer: Json, models: str = "models", name: str = "name"
    ) -> dict[ModelId, list[Json]]:
        """What is listed, by name; one that has several entries may be loaded by any."""
        found = self._found(models, answer)
        if not found and not has_members(self._paths[models], answer.value):
            raise self._confused(models, answer, "a list, found nothing")
        named: dict[ModelId, list[Json]] = {}
        for key, entry in found:
            of = Json(entry.engine, entry.call, key, f"{name} (its key)")
            if name in self._texts:
                of = self.one(name, entry) or self._nothing(name, entry)
            named.setdefault(ModelId(of.name()), []).append(entry)
        return named

    def model(self, name: ModelId, listed: Sequence[Json], held: Sequence[Json]) -> EngineModel:
        """Of its entries in the list, and among the loaded; those may be the same."""
        sizes = (self._size("file_bytes", entry) for entry in listed)
        file_size = next((size for size in sizes if size is not None), None)
        states = ((self._state(entry), entry) for entry in held)
        state, entry = next((s for s in states if s[0] is not None), (None, None))
        if state is None or entry is None:
            return EngineModel(name, file_size=file_size)
        on_gpu, reported = self._size("gpu_bytes", entry), self._size("bytes", entry)
        context, used = self.one("context", entry), self.one("last_used", entry)
        return EngineModel(
            name,
            state,
            reported=on_gpu if reported is None else reported,
            reported_gpu=on_gpu,
            file_size=file_size,
            process=self._process(name, entry),
            mark=None if used is None else _word(used),
            context=None if context is None else context.count(),
        )

    def in_flight(self, *answers: Json) -> int | None:
        """Requests: numbers and flags, added up."""
        if "in_flight" not in self._texts:
            return None
        found = [value for answer in answers for _, value in self._found("in_flight", answer)]
        known = [value for value in found if value.value is not None]
        counts = [int(v.flag()) if isinstance(v.value, bool) else v.count() for v in known]
        return sum(counts) if counts else None

    def one(self, key: str, answer: Json) -> Json | None:
        """None: it is not described, or not there, or null."""
        if key not in self._paths:
            return None
        found = self._found(key, answer)
        if len(found) > 1:
            raise self._confused(key, answer, f"one value, found {len(found)}")
        return found[0][1] if found and found[0][1].value is not None else None

    def _process(self, name: ModelId, entry: Json) -> Process | None:
        pid = self.one("pid", entry)
        if pid is not None and pid.count():
            return Process(pid=pid.count())
        if self._told.process is not None:
            return Process(argv=(tuple(fill(list(self._told.process), name)),))
        return Process(whole=True) if self._told.one_model else None

    def _state(self, entry: Json) -> State | None:
        if "state" not in self._texts:
            return State.LOADED
        found = self.one("state", entry)
        if found is None:
            if "null" not in self._words:
                hint = 'a state, found nothing; if that is one, add "null" to `unloaded`'
                raise self._confused("state", entry, hint)
            return self._words["null"]
        if ANY in self._words and word(found.value) not in self._words:
            return self._words[ANY]
        return self._words.get(_word(found), State.UNKNOWN)

    def _size(self, key: str, entry: Json) -> Bytes | None:
        """What is in memory does not take 0 bytes: that is how "unknown" is written."""
        if (found := self.one(key, entry)) is None:
            return None
        value = found.value
        text = f"{value:f}" if isinstance(value, float) else str(value)
        try:
            return parse_size(text if any(map(str.isalpha, text)) else text + self._unit) or None
        except UnitError:
            why = f"{found.where}: expected a number of bytes, found {shown(value)}"
            raise EngineConfused(found.engine, found.call, why) from None

    def _found(self, key: str, answer: Json) -> list[tuple[str, Json]]:
        """With the last key or index on the way."""
        where = self._where(key)
        try:
            values = select(self._paths[key], answer.value)
        except ValueError as wrong:
            raise EngineConfused(answer.engine, answer.call, f"{where}: {wrong}") from None
        return [(step, Json(answer.engine, answer.call, v, where)) for step, v in values]

    def _nothing(self, key: str, answer: Json) -> Json:
        return Json(answer.engine, answer.call, None, self._where(key))

    def _confused(self, key: str, answer: Json, expected: str) -> EngineConfused:
        why = f"{self._where(key)}: expected {expected}"
        return EngineConfused(answer.engine, answer.call, why)

    def _where(self, key: str) -> str:
        return f"{key} ({self._texts[key]})"


def _word(found: Json) -> str:
    text = word(found.value)
    if text is None or isinstance(found.value, str):
        found.text()  # or else it says what was found instead
    return text or ""
