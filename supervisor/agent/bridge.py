"""The way from the fleet to the daemon of this host: its own API, over its Unix socket or port.

The one thing that speaks to the daemon, in the agent and in the actor that other hosts reach.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from collectors.reading import Seconds

from .backend import BackendError, Row

API: Final = "/api/v1"
MOST = 8 * 1024**2  # bytes of an answer: ten thousand models are a quarter of that
PATIENCE = Seconds(5.0)


class Bridge:
    """One daemon. `address` is http://HOST:PORT or unix:/PATH. `token_file`: what it is to be sent,
    read anew when that is not good any more. Every call ends in time."""

    def __init__(self, address: str, token_file: str | None = None) -> None:
        self.address, self._token_file = address, token_file
        self._client: httpx.AsyncClient | None = None
        self._token: str | None = None  # that is sent

    async def word(self, within: Seconds = PATIENCE) -> Row:
        return await self._ask("GET", "/fleet/word", within)

    async def offer(self, model: str, within: Seconds = PATIENCE) -> Row:
        return await self._ask("POST", "/fleet/offers", within, {"model": model})

    async def accept(self, offer: str, within: Seconds = PATIENCE) -> Row:
        return await self._ask("POST", f"/fleet/offers/{offer}/accept", within, {})

    async def drain(self, seconds: float | None = None, within: Seconds = PATIENCE) -> Row:
        """No more requests and loads; what is there leaves when nobody uses it."""
        body: Row = {} if seconds is None else {"for": seconds}
        return await self._ask("POST", "/drain", within, body)

    async def undrain(self, within: Seconds = PATIENCE) -> Row:
        return await self._ask("DELETE", "/drain", within)

    async def hold(self, model: str, client: str, ttl: Seconds, within: Seconds = PATIENCE) -> str:
        """A lease on a model that is there; its id. Loads nothing."""
        body: Row = {"model": model, "client": client, "ttl": ttl, "wait": False, "there": True}
        row = await self._ask("POST", "/leases", within, body)
        try:
            return str(row["lease"]["id"])
        except (KeyError, TypeError):
            raise BackendError("garbled", "the daemon gave no lease", 502) from None

    async def held(self, model: str, within: Seconds = PATIENCE) -> dict[str, str]:
        """The leases on a model: whose each is, by its id."""
        row = await self._ask("GET", f"/leases?model={quote(model, safe='')}", within)
        try:
            return {str(lease["id"]): str(lease["client"]) for lease in row["leases"]}
        except (KeyError, TypeError):
            raise BackendError("garbled", "the daemon's leases cannot be read", 502) from None

    async def renew(self, lease: str, within: Seconds = PATIENCE) -> None:
        await self._ask("POST", f"/leases/{lease}/renew", within, {})

    async def let_go(self, lease: str, within: Seconds = PATIENCE) -> None:
        await self._ask("DELETE", f"/leases/{lease}", within)

    async def unload(self, model: str, within: Seconds = PATIENCE) -> Row:
        """Now, or when nobody uses it any more."""
        return await self._ask("POST", "/unload", within, {"models": [model], "background": True})

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(self, method: str, path: str, within: Seconds, body: Row | None = None) -> Row:
        try:
            client = self._client or self._open()
            reply = await client.request(method, API + path, json=body, timeout=within)
            if reply.status_code == 401 and self._read() != self._token:
                await self.close()
                reply = await self._open().request(method, API + path, json=body, timeout=within)
        except (httpx.TimeoutException, TimeoutError) as error:
            what = f"the daemon at {self.address} did not answer within {within:g} s"
            # A connection that was never had carried nothing.
            never = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            raise BackendError("away", what, 503, unsure=not never) from None
        except httpx.ConnectError as error:
            what = f"no daemon answers at {self.address}: {error or type(error).__name__}"
            raise BackendError("away", what) from None
        except (httpx.HTTPError, OSError, ValueError) as error:
            what = f"the daemon at {self.address} cannot be asked: {error or type(error).__name__}"
            raise BackendError("away", what, 503, unsure=True) from None
        return _answer(reply)

    def _read(self) -> str | None:
        """Raises OSError, ValueError."""
        return None if self._token_file is None else Path(self._token_file).read_text().strip()

    def _open(self) -> httpx.AsyncClient:
        self._token = self._read()
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        if self.address.startswith("unix:"):
            transport = httpx.AsyncHTTPTransport(uds=self.address.removeprefix("unix:"))
            base = "http://127.0.0.1"
        else:
            transport, base = httpx.AsyncHTTPTransport(), self.address
        self._client = httpx.AsyncClient(
            transport=transport, base_url=base, headers=headers, trust_env=False
        )
        return self._client


def _answer(reply: httpx.Response) -> Row:
    try:
        if len(reply.content) > MOST:
            raise ValueError("it is too long")
        document: Any = json.loads(reply.content or b"{}")
        if not isinstance(document, dict):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        what = f"the daemon's answer to {reply.request.url.path} cannot be read: {error}"
        raise BackendError("garbled", what, 502) from None
    if reply.is_success:
        return document
    code = document.get("code")
    detail = document.get("detail") or document.get("title") or f"it answered {reply.status_code}"
    raise BackendError(
        code if isinstance(code, str) else str(reply.status_code), str(detail), reply.status_code
    )
