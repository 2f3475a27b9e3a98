"""A host, asked what a load would cost it: one question, and its answer, whatever that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from collectors.reading import Seconds
from supervisor.fleet.decided import Answer
from supervisor.fleet.hosts import HostId
from supervisor.fleet.words import read_offer

from .backend import Backend, BackendError

ASK: Final = Seconds(2.0)  # for what takes the other daemon milliseconds


async def ask_for_offer(
    backend: Backend, host: HostId, model: str, clock: Callable[[], Seconds]
) -> Answer:
    """`model` as that host calls it."""
    asked = clock()  # its time runs from then on, at the latest
    try:
        offer = read_offer(await backend.ask(host, "offer", ASK, model=model))
    except BackendError as error:
        return Answer(None, asked, error.detail)
    except ValueError as error:
        return Answer(None, asked, f"its answer is not understood: {error}")
    if offer.host != host:
        return Answer(None, asked, f"{offer.host} answers in its place")
    return Answer(offer, asked)
