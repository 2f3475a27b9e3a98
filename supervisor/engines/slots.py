"""What a llama-server's slots say of its work; and the llama-servers that are Ollama's children."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import pairwise
from pathlib import PurePath

from collectors.process import list_commands
from collectors.reading import Seconds
from supervisor.aside import Aside

from .answer import Json
from .base import Activity

DEADLINE = Seconds(0.5)
# Command lines are swept for children that are not known, but not at every look: one that cannot
# be found now, as behind the wall of a container, will not be in a second.
SWEEP_INTERVAL = Seconds(30.0)

Commands = Callable[[], Mapping[int, tuple[str, ...]]]


def activity(slots: Json) -> Activity:
    """Of GET /slots: one entry a slot, with the task that it works on or worked on last."""
    found = tuple(slots)
    tasks = [slot.get("id_task") for slot in found]
    return Activity(
        in_flight=sum(slot["is_processing"].flag() for slot in found),
        mark=",".join("-" if task is None else str(task.value) for task in tasks),
        progress=",".join(map(_flow, found)),
    )


def _flow(slot: Json) -> str:
    """How far a slot has come: its task, tokens of the prompt that are read, tokens written."""
    task, read = slot.get("id_task"), slot.get("n_prompt_tokens_processed")
    tokens = slot.get("next_token")  # a list since 2025
    value = None if tokens is None else tokens.value
    if isinstance(value, list):
        value = value[0] if value else None
    written = value.get("n_decoded") if isinstance(value, dict) else None
    return "/".join(str(found) for found in (task and task.value, read and read.value, written))


class Children:
    """Ports of the llama-servers on this machine, by the model file that each was started with."""

    def __init__(self, name: str, commands: Commands = list_commands) -> None:
        self._aside = Aside(f"{name}: its children")
        self._commands = commands
        self._ports: dict[str, int] = {}
        self._swept: float | None = None
        self.clock = time.monotonic

    async def look(self, files: Collection[str]) -> bool:
        """Know the ports of these, as far as can be told; is any known?"""
        self._ports = {file: port for file, port in self._ports.items() if file in files}
        now = self.clock()
        due = self._swept is None or now - self._swept >= SWEEP_INTERVAL
        if due and self._ports.keys() != set(files):
            self._swept = now
            with suppress(TimeoutError, OSError):  # its numbers are there without
                running = await self._aside.call(self._commands, DEADLINE)
                found = [p for argv in running.values() if (p := _served(argv)) is not None]
                # Of two with the same file nobody can tell here whose is whose.
                many = Counter(file for file, _ in found)
                self._ports = {f: port for f, port in found if f in files and many[f] == 1}
        return bool(self._ports)

    def port_of(self, file: str) -> int | None:
        return self._ports.get(file)

    def forget(self, file: str) -> None:
        """It does not answer as one does."""
        self._ports.pop(file, None)


def _served(argv: tuple[str, ...]) -> tuple[str, int] | None:
    """The file that a llama-server serves, and its port."""
    if not argv or "llama-server" not in PurePath(argv[0]).name:
        return None
    options = dict(pairwise(argv))
    file, port = options.get("--model"), options.get("--port", "")
    if file is None or not port.isascii() or not port.isdigit() or len(port) > 5:
        return None
    if not 0 < int(port) < 65536:
        return None
    return file, int(port)
