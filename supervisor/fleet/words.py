"""The nouns of a fleet as plain JSON, and back. What comes from another host is read strictly.

Field by field, whole: sizes as bytes, statuses and sources by their value. Every `read_…` raises
ValueError, which names what is wrong, where it stands, and what would be right.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

from collectors.reading import Bytes, PoolId, Seconds
from supervisor.core.snapshot import Share, Source
from supervisor.core.status import Status
from supervisor.printable import printable

from .checked import Checked, once
from .hosts import (
    Directory,
    Host,
    HostId,
    Housed,
    Offer,
    OfferId,
    Part,
    Presence,
    Promise,
    PromiseId,
    Space,
    Word,
)

Row = dict[str, Any]
E = TypeVar("E", bound=Enum)


def space_row(space: Space) -> Row:
    return space._asdict()


def housed_row(housed: Housed) -> Row:
    return {
        "name": housed.name,
        "engine": housed.engine,
        "status": housed.status,
        "ready": housed.ready,
        "size": housed.size,
        "in_flight": housed.in_flight,
        "waiting": housed.waiting,
        "slots": housed.slots,
    }


def part_row(part: Part) -> Row:
    return {
        "span": part.span,
        "model": part.model,
        "leads": part.leads,
        "hosts": part.hosts,
        "others": list(part.others),
    }


def word_row(word: Word) -> Row:
    return {
        "host": word.host,
        "epoch": word.epoch,
        "number": word.number,
        "version": word.version,
        "wall": word.wall,
        "address": word.address,
        "spaces": [space_row(s) for s in word.spaces],
        "models": [housed_row(m) for m in word.models],
        "rests": word.rests,
        "parts": [part_row(p) for p in word.parts],
    }


def offer_row(offer: Offer) -> Row:
    return {
        "id": offer.id,
        "host": offer.host,
        "model": offer.model,
        "valid": offer.valid,
        "ready": offer.ready,
        "fits": offer.fits,
        "loss": offer.loss,
        "wait": offer.wait,
        "takes": [share_row(s) for s in offer.takes],
        "leaves": list(offer.leaves),
        "in_flight": offer.in_flight,
        "waiting": offer.waiting,
        "slots": offer.slots,
        "why": offer.why,
    }


def share_row(share: Share) -> Row:
    return {"pool": share.pool, "size": share.size, "source": share.source.value}


def promise_row(promise: Promise) -> Row:
    return {
        "id": promise.id,
        "model": promise.model,
        "host": promise.host,
        "size": promise.size,
        "until": promise.until,
        "members": list(promise.members),
    }


def host_row(host: Host) -> Row:
    return {
        "word": word_row(host.word),
        "heard": host.heard,
        "presence": host.presence.value,
    }


def directory_row(directory: Directory) -> Row:
    """Hosts by name. `heard` and `until` are on the clock of `at`, which is nobody else's."""
    hosts = sorted(directory.hosts.values(), key=lambda h: h.id)
    return {
        "at": directory.at,
        "hosts": [host_row(h) for h in hosts],
        "promises": [promise_row(p) for p in directory.promises],
    }


# -- and back


def read_space(row: object, where: str = "space") -> Space:
    r = Checked(row, where)
    space = Space(
        PoolId(r.text("pool")),
        Bytes(r.whole("total")),
        Bytes(r.whole("free")),
        Bytes(r.whole("headroom", negative=True)),
    )
    if space.free > space.total:
        raise ValueError(f"{where}: free ({space.free}) is more than total ({space.total})")
    return space


def read_housed(row: object, where: str = "model") -> Housed:
    r = Checked(row, where)
    size = r.whole_or_none("size")
    return Housed(
        r.text("name"),
        r.text("engine"),
        _one_of(Status, r, "status").value,
        r.flag("ready", False),
        None if size is None else Bytes(size),
        r.whole("in_flight", 0),
        r.whole("waiting", 0),
        r.whole_or_none("slots"),
    )


def read_part(row: object, where: str = "part") -> Part:
    r = Checked(row, where)
    others = tuple(HostId(h) for h in r.texts("others"))
    part = Part(
        r.text("span"), r.text("model"), r.flag("leads", False), r.whole("hosts", 0), others
    )
    once(others, "host", where)
    if part.leads and not 1 < part.hosts <= len(others) + 1:
        raise ValueError(
            f"{where}: hosts is {part.hosts}; it has to be from 2 to {len(others) + 1}: this one"
            " and its others"
        )
    return part


def read_word(row: object, where: str = "word") -> Word:
    """`number` may be left out: a daemon does not count its words, who carries them does."""
    r = Checked(row, where)
    host = HostId(r.text("host"))
    inside = f"{where} of {host}"
    spaces = r.each("spaces", read_space, inside)
    models = r.each("models", read_housed, inside)
    parts = r.each("parts", read_part, inside)
    once(tuple(s.pool for s in spaces), "pool", inside)
    once(tuple(f"{m.engine}/{m.name}" for m in models), "model", inside)
    once(tuple(p.span for p in parts), "span", inside)
    return Word(
        host,
        r.text("epoch"),
        r.whole("number", 0),
        r.text("version"),
        r.number("wall", negative=True),
        r.text_or_none("address"),
        spaces,
        models,
        r.text_or_none("rests"),
        parts,
    )


def read_offer(row: object, where: str = "offer") -> Offer:
    r = Checked(row, where)
    return Offer(
        OfferId(r.text("id")),
        HostId(r.text("host")),
        r.text("model"),
        Seconds(r.number("valid")),
        r.flag("ready"),
        r.flag("fits"),
        r.number("loss", 0.0),
        Seconds(r.number("wait", 0.0)),
        r.each("takes", read_share),
        r.texts("leaves"),
        r.whole("in_flight", 0),
        r.whole("waiting", 0),
        r.whole_or_none("slots"),
        r.sentence("why"),
    )


def read_share(row: object, where: str = "share") -> Share:
    r = Checked(row, where)
    return Share(PoolId(r.text("pool")), Bytes(r.whole("size")), _one_of(Source, r, "source"))


def read_promise(row: object, where: str = "promise") -> Promise:
    r = Checked(row, where)
    return Promise(
        PromiseId(r.text("id")),
        r.text("model"),
        HostId(r.text("host")),
        Bytes(r.whole("size")),
        Seconds(r.number("until", negative=True)),
        tuple(HostId(m) for m in r.texts("members")),
    )


def read_host(row: object, where: str = "host") -> Host:
    r = Checked(row, where)
    return Host(
        read_word(r.value("word"), f"{where}: word"),
        Seconds(r.number("heard", negative=True)),
        _one_of(Presence, r, "presence"),
    )


def read_directory(row: object, where: str = "directory") -> Directory:
    r = Checked(row, where)
    hosts = r.each("hosts", read_host)
    once(tuple(h.id for h in hosts), "host", where)
    return Directory(
        Seconds(r.number("at", negative=True)),
        {h.id: h for h in hosts},
        r.each("promises", read_promise),
    )


def _one_of(kind: type[E], r: Checked, key: str) -> E:
    value = r.text(key)
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(str(k.value) for k in kind)
        told = f'{r.where}: {key} is "{printable(value)}"; it has to be one of {known}'
        raise ValueError(told) from None
