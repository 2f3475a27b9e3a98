"""Real sockets for httpx with half the work of its own: stories make ten thousand calls.

What httpx brings itself is tested with the adapters, and by every daemon that is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Plain(httpx.AsyncBaseTransport):
    """HTTP/1.1 over kept connections, for answers that tell their length or come in pieces."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], list[Link]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        where = request.url.host, request.url.port or 80
        kept = self._idle.setdefault(where, [])
        while kept and (kept[-1][0].at_eof() or kept[-1][1].is_closing()):
            kept.pop()[1].close()
        try:
            link = kept.pop() if kept else await asyncio.open_connection(*where)
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error
        reader, writer = link
        try:
            head = b"%s %s HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
            head += b"".join(b"%s: %s\r\n" % field for field in request.headers.raw)
            writer.write(head + b"\r\n" + await request.aread())
            first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            writer.close()
            raise httpx.RemoteProtocolError(str(error), request=request) from error
        except BaseException:
            writer.close()
            raise
        headers = [(name, value.strip()) for name, _, value in (n.partition(b":") for n in lines)]
        body = Body(self, where, link, httpx.Headers(headers))
        return httpx.Response(int(first.split()[1]), headers=headers, stream=body)

    def keep(self, where: tuple[str, int], link: Link) -> None:
        self._idle[where].append(link)

    async def aclose(self) -> None:
        for links in self._idle.values():
            for _, writer in links:
                writer.close()
        self._idle.clear()


class Body(httpx.AsyncByteStream):
    """What follows a head, once. A connection whose answer was read to its end is kept."""

    def __init__(
        self, plain: Plain, where: tuple[str, int], link: Link, headers: httpx.Headers
    ) -> None:
        self.plain, self.where, self.link, self.headers = plain, where, link, headers
        self.whole = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        reader = self.link[0]
        try:
            if self.headers.get("transfer-encoding") == "chunked":
                while size := int(await reader.readline(), 16):
                    yield (await reader.readexactly(size + 2))[:-2]
                await reader.readline()
            elif size := int(self.headers["content-length"]):
                yield await reader.readexactly(size)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        self.whole = True

    async def aclose(self) -> None:
        if self.whole:
            self.plain.keep(self.where, self.link)
        else:
            self.link[1].close()
