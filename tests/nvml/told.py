"""Events as a test tells them, in place of the thread that waits in the driver."""

from collections.abc import Mapping
from typing import Any

from collectors.reading import Incident, Remedy, Seconds


class Told:
    """`calls` remembers in order what was asked of it; `busy`: still inside the driver."""

    def __init__(self) -> None:
        self.found: list[Incident] = []
        self.calls: list[str] = []
        self.watched: set[str] = set()
        self.busy = False

    def xid(self, device: str, code: int, remedy: Remedy) -> Incident:
        incident = Incident(device, "xid", code, remedy, f"Xid {code}", Seconds(1.0))
        self.found.append(incident)
        return incident

    def start(self, binding: Any, handles: Mapping[str, Any]) -> None:
        self.calls.append("start")
        self.watched = set(handles)

    def drain(self) -> list[Incident]:
        found, self.found = self.found, []
        return found

    def close(self) -> None:
        self.calls.append("close")
        self.watched = set()

    def left(self, timeout: Seconds) -> bool:
        return not self.busy
