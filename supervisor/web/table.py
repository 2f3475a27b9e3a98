"""All operations of the API, and the one that describes them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from supervisor.config.entrusted import READ

from . import (
    admin,
    alerts,
    config,
    events,
    fleet,
    inventory,
    keeping,
    pausing,
    savings,
    settings,
    trail,
    wishes,
)
from .background import Errands
from .openapi import Json as Document
from .openapi import document
from .operations import API, Call, Operation
from .problems import Json
from .queries import Query
from .site import Site

PATH = f"{API}/openapi.json"


def operations(site: Site) -> list[Operation]:
    """Every operation, in the order in which they are described."""
    errands = Errands(site.door)
    found = [
        *admin.operations(site),
        *inventory.operations(site),
        *events.operations(site),
        *wishes.operations(site, errands),
        *keeping.operations(site, errands),
        *pausing.operations(site),
        *alerts.operations(site),
        *settings.operations(site),
        *config.operations(site),
        *savings.operations(site),
        *trail.operations(site),
        *fleet.operations(site, errands),
    ]
    found = [op if op.method == "GET" else _lasting(op, site) for op in found]
    described = _Described(found, site.version)
    found.append(
        Operation("GET", PATH, described.answer, "This description", dict[str, Any], scope=READ)
    )
    return found


def _lasting(operation: Operation, site: Site) -> Operation:
    """Whoever is answered may rely on it, however this daemon ends: also on a refusal, which may
    take back what had been written down."""

    async def serve(call: Call[Any, Any]) -> Response:
        try:
            answer = await operation.endpoint(call)
        except Exception:
            await site.loop.journal.written()
            raise
        await site.loop.journal.written()
        return answer

    return replace(operation, endpoint=serve)


class _Described:
    """Made when it is first asked for: it takes some tens of milliseconds."""

    def __init__(self, operations: list[Operation], version: str) -> None:
        self._operations, self._version = operations, version
        self._document: Document | None = None

    async def answer(self, call: Call[Query, None]) -> Response:
        if self._document is None:
            self._document = await asyncio.to_thread(document, self._operations, self._version)
        return Json(self._document)
