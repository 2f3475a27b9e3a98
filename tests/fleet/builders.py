"""Small fleets for tests: say only what the test is about. Sizes are in GiB."""

from __future__ import annotations

from collections.abc import Iterable

from collectors.reading import RAM, Bytes, PoolId, Seconds, gib
from supervisor.core.snapshot import Share
from supervisor.fleet.decided import Answer, Choice, Why
from supervisor.fleet.hosts import (
    Directory,
    Host,
    HostId,
    Housed,
    Offer,
    OfferId,
    Presence,
    Promise,
    PromiseId,
    Space,
    Word,
)

GPU = PoolId("gpu:0")
NOW = Seconds(1000.0)
WALL = 1.8e9


def space(headroom: float, total: float = 24, pool: PoolId = GPU) -> Space:
    return Space(pool, gib(total), gib(max(0.0, headroom)), gib(headroom))


def housed(
    name: str = "m",
    status: str = "local",
    *,
    size: float | None = 8,
    work: int = 0,
    waiting: int = 0,
    slots: int | None = 1,
    engine: str = "ollama",
) -> Housed:
    """`status` "loaded" is ready."""
    held = None if size is None else gib(size)
    return Housed(name, engine, status, status == "loaded", held, work, waiting, slots)


def word(
    host: str,
    *models: Housed,
    free: float = 20,
    total: float = 24,
    spaces: tuple[Space, ...] | None = None,
    rests: str | None = None,
    address: str | None = "http://127.0.0.1:1",
    epoch: str = "",
    number: int = 1,
    wall: float = WALL,
) -> Word:
    there = (space(free, total), space(60, 64, RAM)) if spaces is None else spaces
    epoch = epoch or f"epoch of {host}"
    return Word(HostId(host), epoch, number, "1.0", wall, address, there, models, rests)


def directory(
    *words: Word,
    at: float = NOW,
    promises: Iterable[Promise] = (),
    silent: Iterable[str] = (),
    lost: Iterable[str] = (),
    drained: Iterable[str] = (),
) -> Directory:
    how = {HostId(h): Presence.SILENT for h in silent}
    how |= {HostId(h): Presence.LOST for h in lost} | {HostId(h): Presence.DRAINED for h in drained}
    hosts = {w.host: Host(w, Seconds(at), how.get(w.host, Presence.HERE)) for w in words}
    return Directory(Seconds(at), hosts, tuple(promises))


def promise(
    host: str, size: float, model: str = "other", *, until: float = NOW + 60, id: str = ""
) -> Promise:
    return Promise(
        PromiseId(id or f"{model}@{host}"), model, HostId(host), gib(size), Seconds(until)
    )


def offer(
    host: str,
    *,
    model: str = "ollama/m",
    loss: float = 0.0,
    wait: float = 5.0,
    size: float = 8,
    fits: bool = True,
    ready: bool = False,
    valid: float = 10.0,
    why: str = "",
    work: int = 0,
) -> Offer:
    takes = (Share(GPU, gib(size)), Share(RAM, gib(1)))
    return Offer(
        OfferId(f"offer of {host}"), HostId(host), model, Seconds(valid), ready, fits, loss,
        Seconds(wait), takes, in_flight=work, slots=1, why=why,
    )  # fmt: skip


def answers(*offers: Offer, at: float = NOW) -> dict[HostId, Answer]:
    return {o.host: Answer(o, Seconds(at)) for o in offers}


def whys(choice: Choice) -> dict[str, Why]:
    """Of every host its note; each has exactly one, in the order of names."""
    assert [n.host for n in choice.notes] == sorted({n.host for n in choice.notes})
    return {n.host: n.why for n in choice.notes}


NO_BYTES = Bytes(0)
