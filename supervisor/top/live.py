"""The dashboard that hears of the daemon and asks it, in other threads, and never waits."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from textual.binding import Binding, BindingType
from textual.message import Message

from supervisor.cli.client import Client, ClientError

from .board import Board
from .look import BAD, GOOD, Look
from .watch import Lost, News, Seen, Watch, another_version
from .wishes import Wishes

T = TypeVar("T")
Row = Mapping[str, Any]


class Heard(Message):
    """News from another thread."""

    def __init__(self, news: News) -> None:
        super().__init__()
        self.news = news


class Answered(Message):
    """A wish was answered; `then` is told, on the screen's thread."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__()
        self.then = then


def in_a_thread(work: Callable[[], None]) -> None:
    """Nobody waits for it: not even the end of the program."""
    threading.Thread(target=work, name="top asks", daemon=True).start()


class Live(Board):
    """`every`: seconds between two looks at the daemon."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("r", "refresh_now")]

    def __init__(
        self,
        client: Client,
        first: Seen,
        *,
        every: float = 1.0,
        look: Look | None = None,
        theme: str = "ansi-dark",
        wishes: Wishes | None = None,
        watch: Callable[[Callable[[News], object]], Watch] | None = None,
        start: Callable[[Callable[[], None]], None] = in_a_thread,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(first, client.address, look=look, theme=theme, clock=clock)
        self.wishes = wishes or Wishes(client)
        self._start = start
        make = watch or (lambda tell: Watch(client, every, tell, clock))
        self._watch = make(lambda news: self._post(Heard(news)))
        self._note(first)

    def on_mount(self) -> None:
        if not self.is_headless:
            loop = asyncio.get_running_loop()
            # The terminal is left as it was. By its own handler of SIGINT, asyncio would cancel
            # whatever is awaited just then, and the program end by an exception, or not.
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                with suppress(NotImplementedError):
                    loop.add_signal_handler(number, self.exit)
        self._watch.start()

    def on_unmount(self) -> None:
        self._watch.stop()

    def action_refresh_now(self) -> None:
        self._watch.now()

    # -- news

    def on_heard(self, message: Heard) -> None:
        news, self.listening = message.news, self._watch.listening
        if isinstance(news, Lost):
            if self.lost is None:
                self.lost_since = news.at
                self.log_.say(self.now, news.error.what, BAD)
            self.lost = news
            return self.redraw()
        before, lost, self.seen, self.lost = self.seen, self.lost, news, None
        try:
            if lost is not None:
                self._back(before.state, news.state)
            self._note(news)
            self.log_.changed(before.state, news.state, self.pools)
            return self.redraw()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self.seen = before
            return self.on_heard(Heard(Lost(another_version(error), news.at)))

    def _back(self, before: Row, after: Row) -> None:
        new = after["uptime"] < before["uptime"]
        self.log_.say(after["now"], "a new daemon answers" if new else "it answers again", GOOD)

    def _note(self, seen: Seen) -> None:
        for model in sorted(seen.state["models"], key=lambda m: str(m["name"])):
            self.letters.of(model["name"])
        if seen.decisions is not None:
            self.log_.decide(seen.decisions)

    # -- asking

    def ask(self, work: Callable[[], T], then: Callable[[T | ClientError], None]) -> None:
        """Have `work` done elsewhere; `then` gets what it returned or raised, here."""

        def run() -> None:
            found: T | ClientError
            try:
                found = work()
            except ClientError as error:
                found = error
            except (KeyError, TypeError) as error:
                found = another_version(error)
            self._post(Answered(lambda: then(found)))
            self._watch.now()

        self._start(run)

    def _post(self, message: Message) -> None:
        """From any thread. Of an answer that comes after the end nobody hears."""
        with suppress(RuntimeError):
            self.post_message(message)

    def on_answered(self, message: Answered) -> None:
        message.then()
