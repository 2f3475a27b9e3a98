"""`ullage demo` as a person sees it: lines, a screen of 80 by 24, an end without a mess."""

import asyncio
import functools
import logging
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from collectors.reading import Bytes, gib
from supervisor import demo
from supervisor.core.headroom import Room
from supervisor.demo import story
from supervisor.demo.clock import Clock, run
from supervisor.demo.machine import GPU1
from supervisor.demo.screen import Screen, layout

ROOT = Path(__file__).parents[2]


TIMES = (0.5, 12, 33, 57, 62)
SIZES = ((80, 24), (132, 50))


@functools.cache
def drawn():
    """The screen as text, by the seconds into the story and by its size. It is played once."""

    async def main():
        clock = Clock()
        cast = story.stage(clock)
        pages = {}

        async def look():
            begun = clock()
            for at in TIMES:
                await clock.sleep(begun + at - clock())
                for size in SIZES:
                    pages[at, size] = page(cast.feed, *size)

        async with cast.world, demo.beside(cast.feed.follow()):
            looking = asyncio.create_task(look())
            await story.play(cast, length=TIMES[-1] + 1)
            await looking
        return pages

    return run(main())


def page(feed, width=80, height=24):
    console = Console(width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as captured:
        console.print(Screen(demo.TITLE, feed).draw(console))
    return captured.get()


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.slow
def test_the_screen_fits_the_terminal(width, height):
    for at in TIMES:
        lines = drawn()[at, (width, height)].rstrip("\n").split("\n")
        assert len(lines) <= height, at
        assert max(len(line) for line in lines) <= width, at


def test_the_screen_tells_who_is_where_without_colour():
    text = drawn()[33, (80, 24)]
    gpu1 = next(line.split()[2] for line in text.split("\n") if line.startswith("gpu1"))
    letters = {
        line.split()[1]: line[0] for line in text.split("\n") if re.match(r"[a-z]  \S+/", line)
    }
    assert letters["press/coder-7b"] in gpu1
    assert letters["press/gpt-oss-20b"] not in gpu1
    assert "#" in gpu1  # the game
    assert re.search(r"nomic-embed .* pinned", text)
    assert re.search(r"coder-7b .* busy", text)
    assert re.search(r"sdxl +leaving", text)


def test_a_pool_that_cannot_be_read_is_named_with_the_reason():
    async def main():
        cast = story.stage(Clock())
        async with cast.world:
            cast.machine.lost[GPU1] = "fell off the bus"
            await cast.world.clock.advance(2)
            return page(cast.feed)

    assert re.search(r"gpu1 +cannot be read: fell off the bus", run(main()))


def room(total, free, reserve=0.0, promised=0.0):
    sizes = [gib(n) for n in (total, free, reserve, promised)]
    total, free, reserve, promised = sizes
    zero = Bytes(0)
    left = free - reserve
    return Room(GPU1, total, free, reserve, None, zero, promised, zero, left, left)


@pytest.mark.parametrize(
    ("room", "held", "bar"),
    [
        (room(16, 16), [], "................"),
        (room(16, 10, reserve=2), [("a", 4), ("b", 2)], "aaaabb........!!"),
        (room(16, 8, reserve=2), [("a", 4)], "aaaa####......!!"),
        (room(16, 12, reserve=2, promised=6), [("a", 4)], "aaaa++++++....!!"),
        (room(16, 1, reserve=2), [("a", 15)], "aaaaaaaaaaaaaaa!"),
        (room(16, 0, reserve=2), [("a", 16)], "aaaaaaaaaaaaaaaa"),
    ],
)
def test_a_bar_shows_models_others_promises_free_memory_and_the_reserve(room, held, bar):
    assert layout(room, [(name, gib(size)) for name, size in held], 16) == bar


@pytest.mark.slow
def test_the_plain_demo_says_in_sentences_what_happens(capsys):
    assert demo.main(plain=True, speed=10, seconds=40) == 0
    out = capsys.readouterr().out
    assert re.search(r"\[ +1[5-9]\.\ds\] a game starts on GPU 1", out)
    assert re.search(r"d-\d+ asked to load press/coder-7b; load press/coder-7b", out)
    assert re.search(r"unload cellar/gemma3:4b: done, recovered: .* came back", out)
    gone = r"d-\d+ gpu1: headroom is gone; game took .*; unload .*; spared: .*embed \(pinned\)"
    assert re.search(gone, out)
    assert re.search(r"4\d s: \d+ decisions, \d+ loads, \d+ unloads", out.splitlines()[-1])
    assert "\x1b" not in out


def started(*words):
    # Where a shell has started all this in the background, Ctrl-C is ignored by inheritance.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += f"from supervisor import demo; sys.exit(demo.main({', '.join(words)}))"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize(
    "sign", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_ctrl_c_ends_it_with_a_summary_and_no_trace(sign):
    process = started("speed=10")
    assert b"a notes program" in process.stdout.readline()
    process.send_signal(sign)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b" unloads, " in out.splitlines()[-1]
    assert err == b""


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_it_without_a_trace():
    process = started("speed=30")
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 1
    assert process.stderr.read() == b""
    process.stderr.close()


def test_what_the_daemon_would_log_as_an_error_is_in_the_feed():
    async def main():
        cast = story.stage(Clock())
        async with cast.world:
            cast.machine.fault = "driver is gone"
            with demo.errors_told(cast.feed):
                logging.getLogger("ullage.loop").error("sampling failed: %s", "no driver")
                logging.getLogger("ullage.loop").warning("not this one")
        return [line.text for line in cast.feed.lines]

    assert run(main()) == ["sampling failed: no driver"]
