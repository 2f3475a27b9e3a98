"""What went wrong with a model that is ours to start, and when it is to be started again."""

from __future__ import annotations

from dataclasses import dataclass

from collectors.reading import Seconds
from supervisor.core.retry import pause
from supervisor.units import format_seconds

STEADY = Seconds(60.0)  # whoever has served this long has not failed in a row


@dataclass(slots=True)
class Failures:
    """Of one model. Times on one monotonic clock, in seconds. `text` is what went wrong last."""

    text: str | None = None
    again_at: Seconds | None = None
    _count: int = 0
    _run: str | None = None  # that failed last: it is told of again and again
    _ready_at: float | None = None

    def fail(self, run: str, text: str, now: float) -> None:
        """A run ended by itself, or was not ready in time. Told of twice, one counts once."""
        if run == self._run:
            return
        if self._ready_at is not None and now - self._ready_at >= STEADY:
            self._count = 0
        self._run, self._ready_at, self.text = run, None, text
        self._count += 1
        self.again_at = Seconds(now + pause(self._count))

    def refuse(self, text: str, now: float) -> None:
        """It could not even be started. Only what was to be started again is tried again."""
        if self.again_at is None:
            self.text = text
        else:
            self.fail(f"refused at {now}", text, now)

    def serve(self, now: float) -> None:
        """It is ready. Said each time that it is seen to be."""
        self._ready_at = now if self._ready_at is None else self._ready_at

    def start(self) -> None:
        """Somebody has it started: what went wrong before is over, and not forgotten."""
        self.text, self.again_at = None, None

    def dismiss(self) -> None:
        """Somebody wants it stopped: nothing is to be started again."""
        self.text, self.again_at, self._count, self._ready_at = None, None, 0, None

    def is_due(self, now: float) -> bool:
        return self.again_at is not None and now >= self.again_at

    def told(self, now: float) -> str | None:
        """In words, with what will come of it. None: nothing went wrong."""
        if self.text is None or self.again_at is None:
            return self.text
        if self.is_due(now):
            return f"{self.text}; it is to be started again now"
        left = Seconds(max(1, round(self.again_at - now)))
        return f"{self.text}; started again in {format_seconds(left)}"
