"""What was seen of each model: when it was asked for, and what loading it took."""

from __future__ import annotations

from collections.abc import Iterable

from collectors.reading import Seconds

from .snapshot import ModelRef, Share


class History:
    """Changed by whoever owns it, and read by whoever plans. Times are in seconds, of a clock
    that only goes forward and goes on over restarts."""

    def arrived(self, ref: ModelRef, now: float) -> None:
        """A request for `ref` came."""

    def loaded(self, ref: ModelRef, took: Seconds, shares: Iterable[Share], now: float) -> None:
        """It is there, `took` seconds after it was asked for."""

    def left(self, ref: ModelRef, now: float) -> None:
        """It is gone."""

    def reload_of(self, ref: ModelRef) -> Seconds | None:
        """What loading it again would take. None: it was never seen."""
        return None
