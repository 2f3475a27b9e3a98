"""An HTTP server for stand-ins, on a Unix socket or on loopback, that can hang."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qsl, unquote, urlsplit

REASONS = {200: "OK", 201: "Created", 204: "No Content", 304: "Not Modified"}


class Serving:
    """`answer(method, path, query, body, fields)` gives a status, and JSON, bytes or None; it may
    be waited for. Requests that came are kept in `calls`, as ("POST /x?t=1", body)."""

    def __init__(self, answer):
        self._answer = answer
        self.calls = []
        self.hanging = False
        self._open = set()
        self._server = None

    async def listen(self, *, socket=None):
        if socket is not None:
            self._server = await asyncio.start_unix_server(self._serve, str(socket))
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    @property
    def port(self):
        return self._server.sockets[0].getsockname()[1]

    async def close(self):
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._open.add(task)
        try:
            while True:
                await self._exchange(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _exchange(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, target, _ = head[0].split(" ")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        fields = {name.lower(): value for name, value in fields.items()}
        content = await reader.readexactly(int(fields.get("content-length", 0)))
        body = json.loads(content) if content else None
        self.calls.append((f"{method} {target}", body))
        if self.hanging:
            await asyncio.Event().wait()
        url = urlsplit(target)
        query = dict(parse_qsl(url.query))
        found = self._answer(method, unquote(url.path), query, body, fields)
        status, value = await found if asyncio.iscoroutine(found) else found
        kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
        plain = value if isinstance(value, bytes) else json.dumps(value).encode()
        plain = b"" if value is None else plain
        line = f"HTTP/1.1 {status} {REASONS.get(status, 'No')}\r\nContent-Type: {kind}\r\n"
        length = "" if status in (204, 304) else f"Content-Length: {len(plain)}\r\n"
        writer.write(f"{line}{length}\r\n".encode() + plain)
        await writer.drain()
