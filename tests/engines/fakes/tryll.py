"""Tryll: no HTTP, so the contract of the others does not fit; see test_tryll.

A server that keeps models and agents behind a real socket, and a stand-in for its own client with
what that client documents. What goes over the wire between the two is known to nobody else.
"""

import asyncio
import json
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from enum import IntEnum
from importlib.machinery import ModuleSpec
from types import ModuleType

FAKE = None
ABSENT, LOCAL, DOWNLOADING, LOADED, DOWNLOADED = range(5)


class FakeTryll:
    """`async with` starts it; `stop` cuts every connection. Models by name: their sizes."""

    def __init__(self, models=("a", "b")):
        self.models = dict.fromkeys(models, 1 << 30)
        self.on_disk = dict.fromkeys(models, LOCAL)
        self.pinned = set()
        self.agents = Counter()  # by the model that they use
        self.requests = []
        self.sessions = 0
        self.fault = None  # hang, garbage, or an error as (code, message)
        self.faults = {}  # the same for one request: "LoadModel" -> "hang"
        self.greeting = struct.pack("<I", 12) + bytes(20)  # the message is at 12
        self.port = 0
        self._server = None
        self._open = set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self):
        await self.start()
        return self

    async def start(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def __aexit__(self, *_):
        await self.stop()

    async def stop(self):
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    @property
    def loaded(self):
        return [m for m in self.models if m in self.pinned or self.agents[m]]

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._open.add(task)
        self.sessions += 1
        try:
            if self.greeting is not None:
                writer.write(_frame(self.greeting))
            while True:
                size = struct.unpack("<I", await reader.readexactly(4))[0]
                asked = json.loads(await reader.readexactly(size))
                fault = self.faults.get(asked["ask"], self.fault)
                self.requests.append(asked)
                if fault == "hang":
                    await asyncio.Event().wait()
                elif fault == "garbage":
                    writer.write(_frame(b'{"answer": [{"name": 3}]}'))
                elif fault is not None:
                    writer.write(_frame(json.dumps({"error": fault}).encode()))
                else:
                    writer.write(_frame(json.dumps(self._answer(**asked)).encode()))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.sessions -= 1
            self._open.discard(task)
            writer.close()

    def _answer(self, ask, model=None, engines=None):
        if ask == "ListModels":
            return {"answer": [self._info(m) for m in self.models]}
        if ask == "LoadModel":
            self.pinned.add(model)
        elif ask == "UnloadModel":
            self.pinned.discard(model)
        return {"answer": None}

    def _info(self, model):
        status = LOADED if model in self.loaded else self.on_disk[model]
        size = 0 if status == ABSENT else self.models[model]
        return {"name": model, "status": status, "hf_repo": "", "size_bytes": size}


def _frame(content):
    return struct.pack("<I", len(content)) + content


class TryllError(Exception):
    def __init__(self, message, code=0):
        super().__init__(message)
        self.message, self.code = message, code

    def __str__(self):
        return f"[{self.code}] {self.message}" if self.code else self.message


class InferenceEngine(IntEnum):
    Mock = 0
    LlamaCpp = 1


class ModelStatus(IntEnum):
    Absent = 0
    Local = 1
    Downloading = 2
    Loaded = 3
    Downloaded = 4


@dataclass
class ModelInfo:
    name: str
    status: ModelStatus
    hf_repo: str
    size_bytes: int


class TryllClient:
    """It blocks; each call has a timeout in seconds. `at_large`: who was never shut down."""

    at_large = set()  # noqa: RUF012

    def __init__(self, sock):
        self.sock = sock
        self.at_large.add(self)

    @classmethod
    def connect(cls, host="127.0.0.1", port=9100, timeout=30.0):
        client = cls(socket.create_connection((host, port), timeout))
        client._read(timeout)
        return client

    def configure_session(self, engine, timeout=30.0, *, embedding_engine=0):
        engines = [int(engine), int(embedding_engine)]
        self._ask(timeout, ask="ConfigureSession", engines=engines)

    def list_models(self, timeout=10.0):
        found = self._ask(timeout, ask="ListModels")
        return [ModelInfo(**m | {"status": ModelStatus(m["status"])}) for m in found]

    def load_model(self, model_name, timeout=300.0):
        self._ask(timeout, ask="LoadModel", model=model_name)

    def unload_model(self, model_name, timeout=30.0):
        self._ask(timeout, ask="UnloadModel", model=model_name)

    def shutdown(self):
        self.at_large.discard(self)
        self.sock.close()

    def _ask(self, timeout, **asked):
        self.sock.sendall(_frame(json.dumps(asked).encode()))
        told = json.loads(self._read(timeout))
        if "error" in told:
            code, message = told["error"]
            raise TryllError(message, code)
        return told["answer"]

    def _read(self, timeout):
        self.sock.settimeout(timeout)
        try:
            size = struct.unpack("<I", self._exactly(4))[0]
            return self._exactly(size)
        except TimeoutError:
            raise TryllError(f"Timeout ({timeout:g}s) waiting for the server") from None

    def _exactly(self, count):
        found = b""
        while len(found) < count:
            piece = self.sock.recv(count - len(found))
            if not piece:
                raise TryllError("Connection closed")
            found += piece
        return found


def client_module():
    """What `import tryll_client` would give."""
    module = ModuleType("tryll_client")
    module.__spec__ = ModuleSpec("tryll_client", None)
    for what in (TryllClient, TryllError, InferenceEngine):
        setattr(module, what.__name__, what)
    return module
