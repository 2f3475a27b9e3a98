"""What stands before the engine in the gateway's benchmark, each as a process of its own:
`python -m benchmarks.gateway_peers NAME ENGINE_PORT`.

Prints its port; then, for each line that it reads, one of JSON on how it fared since the last: by
how many milliseconds its loop was late, and its memory at the most.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import uvloop

from .gateway_load import at

TICK = 0.01  # seconds between two looks at how late the loop is

CONFIG = """
mode = "enforce"
detect = false
state_dir = "state"
log_level = "error"
[listen]
port = 0
[gateway]
port = 0
[engines.standin]
kind = "http"
url = "http://127.0.0.1:{port}"
[engines.standin.http]
list_api = "/models"
models = "$[*]"
name = "$.name"
state = "$.state"
"""


async def ullage(engine: int) -> int:
    """All of it: the daemon, as it is run, whose one engine has the model loaded."""
    from supervisor.app import build
    from supervisor.config.config import load
    from supervisor.engines import ENGINES
    from supervisor.process import settle_in

    folder = Path(tempfile.mkdtemp(prefix="ullage-gateway-"))
    file = folder / "ullage.toml"
    file.write_text(CONFIG.format(port=engine).replace('"state"\nlog', f'"{folder}"\nlog'))
    app = build(load(file, {}, {}, kinds=frozenset(ENGINES)))
    await app.start()
    while app.loop.snapshot is None or not app.loop.snapshot.residents:
        await app.loop.changed()
    settle_in()
    assert app.gateway is not None
    return app.gateway.port


async def relay(engine: int) -> int:
    """Its hot path alone: requests are read and passed on, and nobody is asked."""
    from supervisor.gateway.client import Client
    from supervisor.gateway.connections import Connections
    from supervisor.gateway.heads import Headers, forward
    from supervisor.gateway.limits import Limits
    from supervisor.gateway.relay import End, Relay
    from supervisor.gateway.stages import Request
    from supervisor.gateway.upstream import Links, Origin

    class Passed:
        """Hears nothing, counts nothing."""

        def __init__(self) -> None:
            self.flight = self

        def moved(self) -> None: ...

        def answered(self, status: int, headers: Headers) -> Headers:
            return ()

        def spoke(self) -> None: ...

        def ended(self, end: End, status: int) -> None: ...

        def last_words(self, content_type: bytes) -> bytes | None:
            return None

        def event_of(self, status: int, content_type: bytes, body: bytes) -> bytes:
            return b""

    lines, origin, passed = Links(Limits()), Origin.of(f"http://127.0.0.1:{engine}"), Passed()

    def serve(client: Client, request: Request) -> None:
        to = forward(request.head, request.body, origin.header)
        Relay(client, lines, origin, to, passed)

    made = Connections(serve, Limits())
    server = await asyncio.get_running_loop().create_server(made, "127.0.0.1", 0, backlog=4096)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def starlette(engine: int) -> int:
    """The obvious Python way: Starlette, and httpx towards the engine."""
    import httpx
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import StreamingResponse
    from starlette.routing import Route

    limits = httpx.Limits(max_connections=2000, max_keepalive_connections=2000)
    client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)

    async def chat(request: Request) -> StreamingResponse:
        body = await request.body()
        json.loads(body)["model"]
        url = f"http://127.0.0.1:{engine}{request.url.path}"
        to = client.build_request("POST", url, content=body)
        answer = await client.send(to, stream=True)
        return StreamingResponse(
            answer.aiter_raw(), answer.status_code, media_type=answer.headers["content-type"]
        )

    app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"])])
    config = uvicorn.Config(app, port=0, log_level="error", access_log=False, backlog=4096)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # it tells nobody
        await asyncio.sleep(TICK)
    _kept.append(task)
    port: int = server.servers[0].sockets[0].getsockname()[1]
    return port


_kept: list[object] = []
PEERS: dict[str, Callable[[int], Awaitable[int]]] = {
    "ullage": ullage,
    "relay": relay,
    "starlette": starlette,
}


async def stand(name: str, engine: int) -> None:
    loop, late = asyncio.get_running_loop(), list[float]()
    most = 0

    def tell() -> None:
        nonlocal most
        if not sys.stdin.readline():
            done.set()
            return
        most = max(most, psutil.Process().memory_info().rss)
        print(json.dumps({"lag_p99_ms": at(late, 0.99) * 1000, "peak_rss": most}), flush=True)
        late.clear()
        most = 0

    done = asyncio.Event()
    print(await PEERS[name](engine), flush=True)
    loop.add_reader(sys.stdin, tell)
    process, turn = psutil.Process(), 0
    while not done.is_set():
        due = loop.time() + TICK
        await asyncio.sleep(TICK)
        late.append(loop.time() - due)
        turn += 1
        if not turn % 10:
            most = max(most, process.memory_info().rss)
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(stand(sys.argv[1], int(sys.argv[2])))
