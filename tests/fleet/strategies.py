"""Any word, offer, promise and directory."""

from __future__ import annotations

from hypothesis import strategies as st

from collectors.reading import Bytes, PoolId, Seconds
from supervisor.core.snapshot import Share, Source
from supervisor.core.status import Status
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

names = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
few = st.sampled_from(["a", "b", "m:latest", "org/m"])
sizes = st.integers(0, 2**50).map(Bytes)
times = st.floats(0, 1e9).map(Seconds)
instants = st.floats(-1e9, 1e9).map(Seconds)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    total = draw(sizes)
    free = draw(st.integers(0, total))
    headroom = draw(st.integers(-(2**50), 2**50))
    return Space(PoolId(draw(names)), total, Bytes(free), Bytes(headroom))


housed = st.builds(
    Housed,
    names | few,
    names,
    st.sampled_from([s.value for s in Status]),
    st.booleans(),
    st.none() | sizes,
    st.integers(0, 9),
    st.integers(0, 9),
    st.none() | st.integers(0, 9),
)
words = st.builds(
    Word,
    names.map(HostId),
    names,
    st.integers(0, 2**40),
    names,
    st.floats(-1e12, 1e12),
    st.none() | names,
    st.lists(spaces(), max_size=3, unique_by=lambda s: s.pool).map(tuple),
    st.lists(housed, max_size=4, unique_by=lambda m: (m.engine, m.name))
    .filter(lambda models: len({f"{m.engine}/{m.name}" for m in models}) == len(models))
    .map(tuple),
    st.none() | names,
)
shares = st.builds(Share, names.map(PoolId), sizes, st.sampled_from(Source))
offers = st.builds(
    Offer,
    names.map(OfferId),
    names.map(HostId),
    names,
    times,
    st.booleans(),
    st.booleans(),
    times.map(float),
    times,
    st.lists(shares, max_size=3).map(tuple),
    st.lists(names, max_size=3).map(tuple),
    st.integers(0, 9),
    st.integers(0, 9),
    st.none() | st.integers(0, 9),
    st.just("") | names,
)
promises = st.builds(
    Promise,
    names.map(PromiseId),
    names,
    names.map(HostId),
    sizes,
    instants,
    st.lists(names.map(HostId), max_size=3).map(tuple),
)
hosts = st.builds(Host, words, instants, st.sampled_from(Presence))
directories = st.builds(
    Directory,
    instants,
    st.lists(hosts, max_size=3, unique_by=lambda h: h.id).map(lambda hs: {h.id: h for h in hs}),
    st.lists(promises, max_size=3).map(tuple),
)
