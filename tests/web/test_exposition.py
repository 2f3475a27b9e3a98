"""How the metrics are written: whatever names there are, no more of them than help, and cheaply."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families as parse

from collectors.reading import gib
from supervisor.core.snapshot import Installed
from supervisor.tally import Durations
from supervisor.web.deeds import MOST_ENGINES
from supervisor.web.labels import LONGEST, clean
from supervisor.web.metrics import OPENMETRICS, PREFIX, Page, families
from supervisor.web.server import Site
from tests.builders import ref, resident, share

from .fakes import GPU, World, client, site
from .measured import crowd, samples, seen, text

pytestmark = pytest.mark.slow

PROMTOOL = shutil.which("promtool")


# -- the format


def test_each_histogram_has_its_own_bounds() -> None:
    name = "time_to_first_token_seconds"
    one, other = (name, ("a",), Durations((1.0,))), (name, ("b",), Durations((2.0,)))
    (family,) = families([one, other])
    found = [(s.labels["engine"], s.labels.get("le")) for s in family.samples]
    assert [(e, le) for e, le in found if le not in (None, "+Inf")] == [("a", "1.0"), ("b", "2.0")]


@given(st.lists(st.text(st.characters(), max_size=300), min_size=1, max_size=8, unique=True))
def test_whatever_models_are_called_each_has_its_own_line_and_it_can_be_read(
    names: list[str],
) -> None:
    world = World()
    world.hold(*(resident(n, 1, pool=GPU) for n in names))
    body = Page(seen(world)).text()[0].decode()
    told = [
        s.labels["model"]
        for f in parse(body)
        for s in f.samples
        if s.name == "ullage_model_memory_bytes"
    ]
    assert sorted(told) == sorted({clean(n) if n != "_other" else "_other" for n in names})
    assert all(len(t) <= LONGEST for t in told)


def test_names_that_are_alike_in_what_can_be_written_stay_apart() -> None:
    assert len({clean(n) for n in ("\ud800", "\ud801", "?", "x" * 500, "x" * 501)}) == 5


# -- how many series


def series(of: Site, most: int = 500) -> Counter[str]:
    """How many lines each family has."""
    return Counter(re.split(r"[{ ]", line)[0] for line in samples(of, most))


def test_each_model_and_each_engine_brings_so_many_series_and_no_more() -> None:
    base, model, engines = (
        sum(series(of).values()) for of in (crowd(20, 5), crowd(21, 5), crowd(20, 6))
    )
    assert model - base <= 11  # of which 3 are requests, by status
    assert engines - base <= 190  # most of them 0: unloads by trigger and result, and histograms
    assert sum(series(crowd(200, 20)).values()) <= 6400


def test_two_hundred_models_with_hostile_names_make_no_more_series_than_any() -> None:
    plain = crowd(200, 20)
    hostile = crowd(200, 20, '"}} 1\n# EOF\nullage_paused 1 {}\\ \ud800' + "\u2028" * 300)
    assert series(hostile) == series(plain)
    for of in (plain, hostile):
        page = Page(of).text()[0].decode()
        every = Counter((s.name, *sorted(s.labels.items())) for f in parse(page) for s in f.samples)
        assert max(every.values()) == 1
        assert sum(every.values()) == sum(series(of).values())


def test_beyond_the_limit_further_models_bring_none() -> None:
    before, after = series(crowd(400, 4), most=20), series(crowd(800, 4), most=20)
    of_models = [n for n in before if n.startswith("ullage_model_")]
    assert {n: before[n] for n in of_models} == {n: after[n] for n in of_models}
    found = samples(crowd(400, 4), most=20)
    others = 'ullage_model_resident{engine="e1",model="_other",state="loaded"}'
    assert found[others] == 100  # the 20 largest are of another engine
    for name, each in (("memory", gib(0.01)), ("estimate", gib(0.02))):
        key = f'ullage_model_{name}_bytes{{engine="e1",model="_other",pool="{GPU}"}}'
        assert found[key] == 100 * each


def test_a_model_that_is_called_as_the_others_are_is_one_of_them() -> None:
    world = World()
    world.hold(*(resident(n, 1, pool=GPU) for n in ("_other", "a", "b")))
    world.hold(replace(world.residents[0], shares=(share(2, GPU),)), *world.residents[1:])
    for most in (1, 2, 500):
        lines = [
            line
            for line in text(seen(world), most).splitlines()
            if line.startswith("ullage_model_memory_bytes")
        ]
        told = [line.partition('model="')[2].partition('"')[0] for line in lines]
        assert sorted(told) == ["_other", *"ab"[: min(most, 2)]]


def test_those_that_are_wanted_and_not_there_are_told_by_name_while_there_is_room() -> None:
    of = crowd(10, 2)
    absent = tuple(Installed(ref(f"absent{i}", "e0")) for i in range(30))
    assert of.loop.snapshot is not None
    of.loop.snapshot = replace(of.loop.snapshot, installed=of.loop.snapshot.installed + absent)
    pins = frozenset(f"absent{i}" for i in range(30)) | {"nobody has this"}
    of.loop.policy = replace(of.loop.policy, pinned=pins)
    found = {k: v for k, v in samples(of, most=15).items() if "model_desired" in k}
    assert len(found) == 6
    assert found['ullage_model_desired{by="pin",engine="e0",model="_other"}'] == 25


def test_engines_that_come_and_go_do_not_pile_up() -> None:
    of = seen(World())
    for i in range(3 * MOST_ENGINES):
        of.loop.witnesses.departures.counts[f"pod-{i}"] = 1
    assert series(of)["ullage_departures_total"] == MOST_ENGINES


def test_a_status_that_nobody_knows_is_one_of_its_kind() -> None:
    of = crowd(1, 1)
    for status in range(200, 600):
        of.gateway.counts.answered(ref("m", "e0"), "openai", status, 0.1, 1.0, 1)  # type: ignore[union-attr]
    found = [k for k in samples(of) if k.startswith("ullage_requests_total") and 'model="m"' in k]
    codes = {m[1] for k in found if (m := re.search(r'code="(\w+)"', k))}
    assert {"200", "499", "503", "2xx", "5xx"} <= codes
    assert len(found) == len(codes) < 70


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say_and_counts_as_we_do() -> None:
    of = crowd(200, 20)
    assert PROMTOOL is not None
    ran = subprocess.run(
        [PROMTOOL, "check", "metrics", "--extended"],
        input=Page(of).text()[0], capture_output=True,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, b"")
    rows = [line.split() for line in ran.stdout.decode().splitlines()[1:]]
    told = {row[0]: int(row[1]) for row in rows if row and row[0].startswith(PREFIX)}
    assert told.keys() == set(re.findall(r"^# TYPE (\S+) ", text(of), re.MULTILINE))
    assert max(told.values()) <= 1000, "a family of more than a thousand series"
    assert sum(told.values()) <= 6400


# -- what a scrape costs, and whom it waits for


def test_a_scrape_waits_for_nobody() -> None:
    """Neither for a driver nor for the loop's next turn: what was seen last is told."""
    of = seen(World())

    async def never(*_: object, **__: object) -> None:
        raise AssertionError("a scrape must not ask anybody")

    of.loop.sampler.sample = never  # type: ignore[assignment]

    async def story() -> bytes:
        async with client(of) as http:
            found = await asyncio.wait_for(http.get("/metrics"), 60)
        return found.content

    assert asyncio.run(story()).startswith(b"# HELP ullage_build_info")


def test_a_scrape_does_not_queue_behind_calls_that_hang() -> None:
    """Such as names that are looked up: the loop's own threads may all be waiting for that."""
    hangs = threading.Event()

    async def story() -> bytes:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        stuck = loop.run_in_executor(None, hangs.wait)
        try:
            async with client(seen(World())) as http:
                found = await asyncio.wait_for(http.get("/metrics"), 60)
        finally:
            hangs.set()
            await stuck
        return found.content

    assert asyncio.run(story()).startswith(b"# HELP")


def test_a_page_is_of_the_moment_at_which_it_was_taken() -> None:
    """It is written in another thread, and the loop goes on meanwhile."""
    of = seen(World())
    page, before = Page(of), text(of)
    counts, world = of.loop.counts, World()
    counts.samples += 1
    counts.evictions["ollama", "relief", "done"] += 5
    for histogram in (*counts.unload_seconds.values(), *counts.load_seconds.values(), counts.ticks):
        histogram.add(1.0)
    for histogram in of.loop.witnesses.footprints.learned.errors.values():
        histogram.add(1.0)
    of.gateway.counts.answered(ref("qwen3:8b"), "openai", 200, 0.2, 3.5, 1, 0.3)  # type: ignore[union-attr]
    of.loop.findings = ()
    world.hold()
    of.loop.snapshot = world.snapshot()
    of.alerting.counts["failed"] += 1
    assert page.text()[0].decode() == before
    assert text(of) != before


def test_two_hundred_models_on_twenty_engines_cost_the_loop_next_to_nothing() -> None:
    of = crowd(200, 20)
    taken, whole = [], []
    for _ in range(5):
        started = time.process_time()
        page = Page(of)
        taken.append(time.process_time() - started)
        page.text()
        whole.append(time.process_time() - started)
    # 1.2 and 40 ms where it was written; the margin is for a loaded machine.
    assert min(taken) < 0.010
    assert min(whole) < 0.250


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_the_loop_has_its_turn_after_each_family(
    accept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for the interpreter otherwise waits for 5 ms at a time."""
    of, turns = crowd(200, 20), []
    monkeypatch.setattr(time, "sleep", turns.append)
    page = Page(of).text(accept)[0]
    assert set(turns) == {0}
    sorting = len(turns) - page.count(b"# TYPE")
    assert page.count(b"\n") / 1000 < sorting < 30  # each takes a tenth of a millisecond


def test_before_anything_was_seen_there_is_a_page() -> None:
    page, _ = Page(site(World())).text(OPENMETRICS)
    assert page.endswith(b"# EOF\n")
    assert b"ullage_sample_timestamp" not in page
