"""Fleets whose hosts hold parts of one model: say only what the test is about. Sizes in GiB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from supervisor.fleet.decided import Answer
from supervisor.fleet.hosts import Directory, HostId, Housed, Part, Word

from .builders import NOW, Offer, answers, directory, housed, offer, word

SPAN = "big:400b"


def leads(
    host: str, others: Sequence[str], status: str = "local", hosts: int = 0, **more: object
) -> Word:
    """A host whose part is called as the span is, as that of a leader has to be."""
    mine = tuple(HostId(h) for h in others)
    part = Part(SPAN, f"llama/{SPAN}", True, hosts or len(mine) + 1, mine)
    return _with(host, part, housed(SPAN, status, engine="llama"), **more)


def holds(host: str, status: str = "local", **more: object) -> Word:
    return _with(host, Part(SPAN, "rpc/part"), housed("part", status, engine="rpc"), **more)


def _with(host: str, part: Part, model: Housed, **more: object) -> Word:
    made = word(host, model, **more)  # type: ignore[arg-type]
    return replace(made, parts=(part,))


def offered(*losses: tuple[str, float], **more: object) -> dict[HostId, Answer]:
    """What hosts answered: those named, at that loss."""
    return answers(*(offer(h, loss=loss, **more) for h, loss in losses))  # type: ignore[arg-type]


__all__ = ["NOW", "SPAN", "Directory", "Offer", "directory", "holds", "leads", "offered"]
