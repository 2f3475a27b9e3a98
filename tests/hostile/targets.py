"""What is fuzzed: each target makes an example of `data`, and gives what is to be done with it.
Errors that are documented are caught there; nothing else is."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import h11
import httpx
from hypothesis import strategies as st
from pydantic import ValidationError

from supervisor.config.config import ConfigError, load
from supervisor.engines.base import EngineError
from supervisor.gateway import answers
from supervisor.gateway.asked import BadRequest, look, renamed
from supervisor.gateway.bodies import BadBody, Chunked, Unchunked
from supervisor.gateway.heads import BadHead, Heads, forward
from supervisor.gateway.surfaces import surface_of
from supervisor.headers import gguf, safetensors
from supervisor.headers.gguf import Unreadable
from supervisor.web import bodies
from supervisor.web.alerts import Delivery, PlainAlert
from tests.configs import FULL, KINDS
from tests.engines.contract import KINDS as ENGINE_KINDS
from tests.engines.contract import engine
from tests.engines.replay import CAPTURES, capture
from tests.gguf_files import Writer
from tests.hostile.smuggling import HELLO, REFUSED, REFUSED_BY_THE_GATEWAY
from tests.web.test_alerts import GRAFANA, SENT

Target = Callable[[st.DataObject], Callable[[], object]]

PIECES = st.sampled_from(
    [
        b"", b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b";", b",", b'"', b"\\",
        b"{", b"}", b"[", b"]", b"[" * 3000, b'{"a":' * 3000, b"9" * 400, b"-1", b"1e999", b"NaN",
        b"\xff\xfe", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"\x1b[2J", b"../", b"%00", b"%2e",
        b"Transfer-Encoding: chunked\r\n", b"Content-Length: 1\r\n", b"Host: x\r\n", b"0\r\n\r\n",
        b"FFFFFFFFFFFFFFFF", b"\xff" * 8, b"null", b"true", b'"model"', b"--", b"\n\n", b"=", b"''",
    ]
)  # fmt: skip


def mutated(data: st.DataObject, seed: bytes, most: int = 4) -> bytes:
    """`seed` with some pieces of it taken out, doubled, or replaced."""
    found = seed
    for _ in range(data.draw(st.integers(1, most))):
        at = data.draw(st.integers(0, len(found)))
        size = data.draw(st.sampled_from([0, 0, 1, 2, 8, 64, len(found)]))
        piece = data.draw(PIECES | st.binary(max_size=8) | st.just(found[at : at + size]))
        found = found[:at] + piece + found[at + size :]
    return found


# -- engines


def _replies(kind: str) -> list[dict[str, Any]]:
    return [capture(p.stem) for p in sorted(CAPTURES.glob(f"{kind}-*.json"))]


_told = cache(_replies)


def engines(data: st.DataObject) -> Callable[[], object]:
    """What an engine answers, and what its adapter makes of that."""
    kind = data.draw(st.sampled_from(ENGINE_KINDS))
    told = copy.deepcopy(data.draw(st.sampled_from(_told(kind))))
    known = {}
    for reply in told["replies"]:
        text = reply.get("text", "")
        raw = json.dumps(reply["body"]).encode() if "body" in reply else text.encode()
        known[reply["call"]] = (reply["status"], raw)
    spoiled = data.draw(st.sampled_from(sorted(known)))
    status, raw = known[spoiled]
    known[spoiled] = (data.draw(st.sampled_from([status, 200, 204, 404, 500])), mutated(data, raw))

    def answer(request: httpx.Request) -> httpx.Response:
        call = f"{request.method} {request.url.raw_path.decode()}"
        status, content = known.get(call, (404, b"{}"))
        return httpx.Response(status, content=content)

    async def ask() -> None:
        client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
        made = engine(kind, client)
        with suppress(EngineError):
            await made.identify()
        with suppress(EngineError):
            for model in await made.list():
                model.id.encode()
                with suppress(EngineError):
                    await made.activity(model)
        with suppress(EngineError):
            await made.habits()

    return lambda: asyncio.run(ask())


# -- the configuration


def config(data: st.DataObject) -> Callable[[], object]:
    text = mutated(data, FULL.encode(), 3)

    def read() -> None:
        with tempfile.NamedTemporaryFile(suffix=".toml") as file:
            file.write(text)
            file.flush()
            with suppress(ConfigError):
                load(Path(file.name), {}, {}, kinds=KINDS)

    return read


# -- files of models

_VALUES = {
    "general.architecture": "llama", "llama.block_count": 4, "llama.embedding_length": 64,
    "llama.attention.head_count": 8, "llama.attention.head_count_kv": [8, 4, 4, 2],
    "llama.context_length": 4096, "tokenizer.ggml.tokens": ["a", "b", "c"], "x": 1.5,
}  # fmt: skip
_GGUF = Writer().file(_VALUES, {"token_embd.weight": 64, "output.weight": 64, "blk.0": 96})
_TENSORS = json.dumps(
    {"__metadata__": {"format": "pt"}, "w": {"dtype": "F16", "data_offsets": [0, 16]}}
).encode()
_SAFE = len(_TENSORS).to_bytes(8, "little") + _TENSORS + b"\0" * 16
_MODEL = json.dumps(
    {"num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 8, "sliding_window": 512,
     "layer_types": ["sliding_attention", "full"], "text_config": None}
).encode()  # fmt: skip


def gguf_files(data: st.DataObject) -> Callable[[], object]:
    raw = mutated(data, _GGUF, 6)

    def read() -> None:
        with suppress(Unreadable):
            gguf.header([gguf.read(io.BytesIO(raw), len(raw))])

    return read


def safetensors_files(data: st.DataObject) -> Callable[[], object]:
    raw, beside = mutated(data, _SAFE, 6), mutated(data, _MODEL, 3)

    def read() -> None:
        size = None
        with suppress(Unreadable):
            size = safetensors.weights(io.BytesIO(raw), len(raw))
        with suppress(Unreadable):
            safetensors.header(safetensors.parsed(beside), size or 0)  # type: ignore[arg-type]

    return read


# -- the gateway

_REQUESTS = [*REFUSED.values(), *REFUSED_BY_THE_GATEWAY.values(), *HELLO.values()]
_FORM = (
    b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--x\r\n'
    b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--x--\r\n'
)
_JSON = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"\\u00e9"}],"user":"u"}'
_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nServer: x\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\n",
]


def heads(data: st.DataObject) -> Callable[[], object]:
    """A head that we let through is, as we write it, one request to a strict reader too."""
    raw = mutated(data, data.draw(st.sampled_from(_REQUESTS)))
    body = data.draw(st.binary(max_size=20))

    def read() -> None:
        end = raw.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        reader = Heads()
        try:
            head, length = reader.read(raw[:end])
        except BadHead:
            return
        again, same = reader.read(raw[:end])
        assert (again.target, again.headers, same) == (head.target, head.headers, length)
        if head.again(raw) is not None:
            assert head.again(raw) == (end, length)
        sent = forward(head, body, b"127.0.0.1:1")
        if head.upgrade is not None:
            return
        there = h11.Connection(h11.SERVER)
        there.receive_data(sent)
        request = there.next_event()
        assert isinstance(request, h11.Request), sent
        assert (request.method, request.target) == (head.method, head.target)
        content = b""
        while isinstance(event := there.next_event(), h11.Data):
            content += event.data
        assert isinstance(event, h11.EndOfMessage), sent
        assert (content, there.trailing_data[0]) == (body, b""), sent

    return read


def asked(data: st.DataObject) -> Callable[[], object]:
    """What a request asks; and the model is named but once in what goes on."""
    form = data.draw(st.booleans())
    path = (
        "/v1/audio/transcriptions"
        if form
        else data.draw(
            st.sampled_from(["/v1/chat/completions", "/api/chat", "/api/show", "/engines/one/x"])
        )
    )
    raw = mutated(data, _FORM if form else _JSON)
    type = b"multipart/form-data; boundary=x" if form else b"application/json"
    if form and data.draw(st.booleans()):
        type = mutated(data, type).translate(None, b"\r\n\0")
    target = mutated(data, path.encode()) if data.draw(st.booleans()) else path.encode()

    def read() -> None:
        surface = surface_of(b"POST", target)
        if surface is None:
            return
        line = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\n\r\n" % (path.encode(), type)
        try:
            head, _ = Heads().read(line)
            found = look(surface, head, raw)
            sent = renamed(surface, head, raw, "other", found)
        except (BadRequest, BadHead):
            return
        if found.members is not None and surface.model is None and found.model is not None:
            pairs: Any = json.loads(sent.decode(errors="replace"), object_pairs_hook=list)
            named = [v for k, v in pairs if k == "model"] or [v for k, v in pairs if k == "name"]
            assert named == ["other"], sent

    return read


def chunks(data: st.DataObject) -> Callable[[], object]:
    """A body in chunks, however it is cut: never more than was sent, and the same however."""
    raw = mutated(data, b"5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
    cut = data.draw(st.integers(0, len(raw)))

    def read() -> None:
        found = []
        for pieces in ([raw], [raw[:cut], raw[cut:]]):
            body, passage = b"", Unchunked()
            try:
                for piece in pieces:
                    if not passage.over and piece:
                        body += passage.feed(piece)
                found.append((body, passage.over))
            except BadBody:
                found.append((b"", False))
            assert len(body) <= len(raw)
        assert found[0] == found[1] or not (found[0][1] and found[1][1]), found
        passing = Chunked()
        passing.begin()
        with suppress(BadBody):
            assert raw.startswith(passing.feed(raw))

    return read


def heads_of_answers(data: st.DataObject) -> Callable[[], object]:
    raw = mutated(data, data.draw(st.sampled_from(_ANSWERS)))

    def read() -> None:
        end = raw.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        try:
            found = answers.read(raw[:end])
        except answers.BadAnswer:
            return
        lines = found.framed.split(b"\r\n")
        assert not any(c in line for line in lines for c in b"\r\n\0"), raw
        names = [line.partition(b":")[0] for line in lines[1:]]
        assert not {b"set-cookie", b"server", b"connection"} & set(names), raw

    return read


# -- the API

_POSTED = [
    kind for kind in vars(bodies).values()
    if isinstance(kind, type)
    and issubclass(kind, bodies.BaseModel)
    and kind is not bodies.BaseModel
]  # fmt: skip
_WISHES = (
    b'{"model":"a","models":["a"],"ttl":"1h","size":"8GiB","pool":"ram","force":true,"client":"x",'
    b'"free":"10%","alerts":[],"for":"5m","retention":"forever","pids":[1]}'
)


def wishes(data: st.DataObject) -> Callable[[], object]:
    kind = data.draw(st.sampled_from(_POSTED))
    raw = mutated(data, _WISHES)

    def read() -> None:
        told: list[str] = []
        try:
            kind.model_validate_json(raw)
        except ValidationError as error:
            told = bodies.mistakes(error, kind)
        assert sum(map(len, told)) < 64 * 1024

    return read


def alerts(data: st.DataObject) -> Callable[[], object]:
    kind = data.draw(st.sampled_from([Delivery, PlainAlert]))
    raw = mutated(data, json.dumps(data.draw(st.sampled_from([SENT, GRAFANA]))).encode())

    def read() -> None:
        with suppress(ValidationError):
            kind.model_validate_json(raw)

    return read


TARGETS: dict[str, Target] = {
    "engines": engines,
    "config": config,
    "gguf": gguf_files,
    "safetensors": safetensors_files,
    "heads": heads,
    "asked": asked,
    "chunks": chunks,
    "answers": heads_of_answers,
    "wishes": wishes,
    "alerts": alerts,
}
