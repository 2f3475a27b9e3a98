"""What a service manager hears: a datagram socket in its place."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.daemon import PATIENCE, POLL

Word = dict[str, str]  # one datagram: its lines, by what stands before the =


class Manager:
    """Listens at `address`, as NOTIFY_SOCKET names it: a path, or @ and an abstract name."""

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self.heard: list[Word] = []
        self._told = 0
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind(self.address.replace("@", "\0", 1))
        self.line.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()
        if not self.address.startswith("@"):
            os.unlink(self.address)

    def listen(self) -> list[Word]:
        """All that was said until now."""
        while True:
            try:
                text = self.line.recv(65536).decode()
            except BlockingIOError:
                return self.heard
            self.heard.append(dict(line.split("=", 1) for line in text.split("\n")))

    def forget(self) -> None:
        """Only what is said from now on counts for `until`."""
        self._told = len(self.listen())

    async def until(self, true: Callable[[Word], bool], times: int = 1) -> Word:
        """Wait for the word of which `true` holds for the n-th time, after the one waited for
        before."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for word in self.listen()[self._told :]:
                    self._told += 1
                    times -= true(word)
                    if times == 0:
                        return word
                await asyncio.sleep(POLL)

    def said(self, key: str) -> list[str]:
        return [word[key] for word in self.listen() if key in word]
