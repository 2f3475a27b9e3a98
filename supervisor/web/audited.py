"""Who changes what through the API, and who is refused: noted in the audit trail."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from supervisor.asker import ASKER, Asker
from supervisor.config.given import path_of
from supervisor.journal.audit import HOUR, MINUTE, REFUSED, Audit
from supervisor.overrides import why_not
from supervisor.telemetry.redact import HIDDEN

from .callers import CALLER
from .errors import ERRORS
from .operations import SAFE, Call, Endpoint, Operation

READS = frozenset({"post_plan", "post_fleet_offers"})  # what is posted, and changes nothing
# What programs send again and again: the same again is counted, by the hour.
REPEATED = frozenset(
    {
        "post_alerts",
        "post_alerts_plain",
        "post_leases_by_id_renew",
        "put_leases_by_id_renew",
        "post_reservations_by_id_renew",
        "put_reservations_by_id_renew",
    }
)
NOTED = "ullage.audited"  # in the scope of a request whose refusal is told by its own entry


def audited(operation: Operation, audit: Audit) -> Operation:
    """The same operation, noted where it changes something."""
    if operation.method in SAFE or operation.id in READS:
        return operation
    return replace(operation, endpoint=_Noted(operation, audit).serve)


@dataclass(frozen=True, slots=True)
class _Noted:
    operation: Operation
    audit: Audit

    async def serve(self, call: Call[Any, Any]) -> Response:
        if any(getattr(part, "dry_run", False) for part in (call.body, call.query)):
            return await self.operation.endpoint(call)
        request, audit = call.request, self.audit
        request.scope[NOTED] = True
        who = name_of(request.scope)
        told = {
            "via": "page" if request.headers.get("sec-fetch-site") == "same-origin" else "api",
            "address": address_of(request.scope),
            "target": "/".join(map(str, request.path_params.values())) or None,
            "wish": _wish(call, audit),
        }
        if self.operation.id in REPEATED:
            return await self._repeated(call, who, told)
        n = audit.begin(who, self.operation.id, **told)
        status: int = 500
        why: str | None = "it was cut short"
        try:
            with _On(Asker(who, lambda id: audit.decided(n, id))):
                response, error = await _answered(self.operation.endpoint, call)
            status, why = response.status_code, _detail(response.status_code, response.body)
        except Exception as ours:
            why = f"internal error: {type(ours).__name__}"
            raise
        finally:
            audit.end(n, status, why)
        if error is not None:
            raise error
        return response

    async def _repeated(self, call: Call[Any, Any], who: str, told: dict[str, Any]) -> Response:
        decisions: list[str] = []
        with _On(Asker(who, decisions.append)):
            response, error = await _answered(self.operation.endpoint, call)
        status = response.status_code
        within = MINUTE if status in REFUSED else HOUR
        why = _detail(status, response.body)
        n = self.audit.sum_up(who, self.operation.id, within, status, why, **told)
        for id in decisions:
            self.audit.decided(n, id)
        if error is not None:
            raise error
        return response


class _On:
    """While it lasts, whatever is asked is asked on somebody's behalf."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    def __enter__(self) -> None:
        self._token = ASKER.set(self._asker)

    def __exit__(self, *_: object) -> None:
        ASKER.reset(self._token)


async def _answered(endpoint: Endpoint, call: Call[Any, Any]) -> tuple[Response, Exception | None]:
    """What will be answered; and the error of which that will be made, which is still to go on."""
    try:
        return await endpoint(call), None
    except Exception as error:
        for kind, handler in ERRORS.items():
            if isinstance(error, kind):
                return handler(call.request, error), error
        raise


class Refusals:
    """ASGI middleware around all else: notes who may not, whatever it was."""

    def __init__(self, app: ASGIApp, audit: Audit) -> None:
        self.app, self.audit = app, audit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif status in REFUSED and NOTED not in scope:
                self._note(scope, status, message.get("body", b""))
                status = 0
            await send(message)

        await self.app(scope, receive, watch if scope["type"] == "http" else send)

    def _note(self, scope: Scope, status: int, body: bytes) -> None:
        what = f"{scope['method']} {scope['path']}"
        why, address = _detail(status, body), address_of(scope)
        self.audit.sum_up(name_of(scope), what, MINUTE, status, why, address=address)


def name_of(scope: Scope) -> str:
    """By the name that the guard has found, where it has."""
    found = scope.get(CALLER)
    return "nobody" if found is None or not found.name else str(found.name)


def address_of(scope: Scope) -> str | None:
    client = scope.get("client")
    return "unix socket" if client is None else str(client[0])


def _detail(status: int, body: bytes | memoryview) -> str | None:
    if status < 400:
        return None
    try:
        found = json.loads(bytes(body))
    except ValueError:
        return None
    return str(found["detail"]) if isinstance(found, dict) and "detail" in found else None


def _wish(call: Call[Any, Any], audit: Audit) -> str | None:
    """What was asked for, without what is secret."""
    if call.body is None:
        return audit.brief(dict(call.request.query_params))
    wish = call.body.model_dump(mode="json", by_alias=True, exclude_unset=True)
    key = call.request.path_params.get("key")
    if key is not None and why_not(path_of(key)) is not None:
        wish = {**wish, "value": HIDDEN}  # it may be a secret's, and is refused in any case
    return audit.brief(wish)
