"""`ullage top` as a person has it: a terminal, keys, and a daemon on the demo machine behind it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyte
import pytest

from supervisor.alerting import Alerting
from supervisor.config.alerted import AlertsConfig
from supervisor.demo.clock import Clock
from supervisor.demo.story import EMBED, OSS, Cast, stage
from supervisor.web.server import Server, Site
from tests.daemon import ROOT, ULLAGE

ROWS, COLUMNS = 24, 80
PATIENCE = 40.0
FAST = 20.0  # seconds of the demo machine in one of ours


class Terminal:
    """`ullage top` in a pseudo-terminal, and what its screen shows."""

    def __init__(self, url: str, *words: str) -> None:
        self.master, self._slave = pty.openpty()
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.before = termios.tcgetattr(self._slave)
        own = {k: v for k, v in os.environ.items() if not k.startswith(("ULLAGE_", "NO_COLOR"))}
        self.process = subprocess.Popen(
            [*ULLAGE, "top", "--url", url, *words],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            cwd=ROOT,
            env={**own, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""

    @property
    def text(self) -> str:
        return "\n".join(self._screen.display)

    def row(self, words: str) -> str:
        """The first line that has them."""
        return next(line for line in self._screen.display if words in line)

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def until(self, true: Callable[[], bool]) -> None:
        """Read what the program draws until `true`."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 0.05)[0]:
                drawn = os.read(self.master, 65536)
                self.raw += drawn
                self._stream.feed(drawn)

    def ended(self) -> int:
        """The exit code, once all that it drew is read."""
        self.until(lambda: self.process.poll() is not None)
        self.until(lambda: not select.select([self.master], [], [], 0)[0])
        return int(self.process.returncode)

    @property
    def restored(self) -> bool:
        """Lines are edited and echoed, the cursor is seen, and it is the usual screen again."""
        seen = self.raw.rindex(b"\x1b[?25h") > self.raw.rindex(b"\x1b[?25l")
        usual = self.raw.rindex(b"\x1b[?1049l") > self.raw.rindex(b"\x1b[?1049h")
        return seen and usual and termios.tcgetattr(self._slave) == self.before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self._slave)


@contextmanager
def terminal(url: str, *words: str) -> Iterator[Terminal]:
    found = Terminal(url, *words)
    try:
        yield found
    finally:
        found.close()


def beside_a_daemon(story: Callable[[str, Cast], None]) -> None:
    """Run `story`, in a thread, with the address of a daemon that has loaded two models."""

    async def run() -> None:
        cast = stage(Clock(FAST))
        async with cast.world:
            door = cast.world.door
            alerting = Alerting(AlertsConfig(), door)
            of = Site(door, "1.2.3", alerting, started_at=cast.world.clock())
            server = Server(of, port=0)
            await server.start()
            try:
                await cast.ask_for(cast.cellar, EMBED)
                await cast.ask_for(cast.press, OSS)
                await asyncio.to_thread(story, server.addresses[0], cast)
            finally:
                await server.stop()

    asyncio.run(run())


@pytest.mark.slow
def test_pools_are_shown_p_pins_u_unloads_and_q_leaves_the_terminal_as_it_was() -> None:
    def story(url: str, cast: Cast) -> None:
        with terminal(url) as screen:
            seen = (
                "Ullage 1.2.3",
                "gpu0",
                "gpu1",
                "ram",
                "headroom",
                "press/gpt-oss-20b",
                "q quit",
            )
            screen.until(lambda: all(words in screen.text for words in seen))
            assert "gpt-oss-20b" in screen.row("gpu0")
            screen.type("p")
            screen.until(lambda: "pinned" in screen.row("press/gpt-oss-20b "))
            assert cast.world.loop.keeping.pins.names == {"press/gpt-oss-20b"}
            screen.type("p")
            screen.until(lambda: "pinned" not in screen.row("press/gpt-oss-20b "))
            screen.type("u")
            screen.until(lambda: "Unload press/gpt-oss-20b?" in screen.text)
            screen.type("y")
            screen.until(lambda: "unload press/gpt-oss-20b: done" in screen.text)
            screen.until(lambda: "gpt-oss-20b" not in screen.row("gpu0"))  # the lists are new, too
            screen.type("e")
            screen.until(lambda: "Why is cellar/nomic-embed where it is?" in screen.text)
            screen.type("q")  # closes the panel
            screen.until(lambda: "Why is" not in screen.text)
            screen.type("q")
            assert screen.ended() == 0
            assert screen.restored
            assert b"Traceback" not in screen.raw

    beside_a_daemon(story)


@pytest.mark.slow
def test_a_signal_leaves_the_terminal_as_it_was_too() -> None:
    def story(url: str, _: Cast) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            with terminal(url, "--light") as screen:
                screen.until(lambda: "q quit" in screen.text)
                screen.process.send_signal(number)
                assert screen.ended() == 0
                assert screen.restored

    beside_a_daemon(story)
