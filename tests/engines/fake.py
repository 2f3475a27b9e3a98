"""Engines made of values, behind a real socket: what they hold, whom they serve, how they fail.

    async with FakeLlamaRouter(["a", "b"], on_load=…, on_unload=…) as server:
        server.url, server.loaded, server.busy["a"] = 2, server.fault = "hang"

`on_load` and `on_unload` are called with the model's name as its memory is taken and given
back, so that a test can change what the machine's collectors read.
"""

import asyncio
import hashlib
import json
from collections import Counter
from http import HTTPStatus
from urllib.parse import parse_qs, unquote, urlsplit

ANSWERS = {status.value: status.phrase for status in HTTPStatus}


class FakeEngine:
    """One server on 127.0.0.1. `async with` starts it; `stop` and `start` keep its port."""

    answers_loads_late = False  # or at once, before the load is done
    single = False  # it holds one model at a time: a second one takes the place of the first
    starts_loaded = False  # it begins with its first model, as a server that is started for it
    keyless = False  # it knows of no keys
    unknown = (404, {"error": "not found"})  # what it says of paths that it does not have
    locked = (401, {"error": "wrong key"})  # what it says to whoever brings the wrong key

    def __init__(self, models=("a", "b"), *, sizes=None, on_load=None, on_unload=None):
        self.models = list(models)
        self.key = None  # what must be brought as a bearer token, where it is not None
        self.sizes = dict.fromkeys(models, 1 << 30) | (sizes or {})  # bytes
        self.pids = {m: 7001 + i for i, m in enumerate(models)}
        self.on_load = on_load or (lambda model: None)
        self.on_unload = on_unload or (lambda model: None)
        self.loading = {}  # model -> when it is done; see `slow_loads` and `finish`
        self.loaded = []  # in the order of their loads
        self.asleep = {}  # model -> does it sleep deeply? Those are in `loaded` too
        self.busy = Counter()  # model -> requests in flight
        self.worked = Counter()  # model -> requests served
        self.requests = []  # every call: ("POST /models/load", {"model": "a"})
        self.fault = None  # hang, garbage, error, redirect
        self.faults = {}  # the same for single calls: "GET /slots" -> "hang"
        self.slow_loads = False  # a load stays under way until `finish`
        self.fails_loads = False
        self.lies = False  # an unload is said to be done, and is not
        self.deaf = False  # it is told to end its requests, says yes, and does not
        self.keeps = False  # an unloaded model is no longer listed, but keeps its memory
        self.gate = asyncio.Event()  # clear: requests stay in flight
        self.gate.set()
        self.port = 0
        self._server = None
        self._open = set()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.stop()

    async def start(self):
        if self.starts_loaded and not self.loaded:
            self.take(self.models[0])
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self):
        """Down: the port refuses, open connections are cut."""
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def take(self, model):
        """Load `model` as if by itself, or by a client behind our back."""
        if model not in self.loaded:
            if self.single:
                for other in list(self.loaded):
                    self.drop(other)
            self.loaded.append(model)
            self.on_load(model)

    def drop(self, model):
        """Unload `model` as if by itself: an idle timer, or a crash."""
        self.loaded.remove(model)
        self.asleep.pop(model, None)
        if not self.keeps:
            self.on_unload(model)

    def finish(self, model):
        """End a slow load."""
        self.loading.pop(model).set()
        self.take(model)

    def calls(self, call):
        return [body for asked, body in self.requests if asked == call]

    @classmethod
    def options(cls):
        """What the configuration says about it, where its kind is described by that."""
        return

    def argv(self, model):
        """The command line of the process that holds `model`."""
        return []

    def model_of(self, call, body):
        return None

    def is_open(self, call):
        """May this be asked without a key?"""
        return False

    # An engine's own: `answer` gives (status, JSON) for a request that asks or controls, None
    # where it is not known; `model_of` names the model that a client's request wants work from.

    def _want(self, model):
        if self.slow_loads and model not in self.loaded:
            self.loading.setdefault(model, asyncio.Event())
        else:
            self.take(model)

    def _leave(self, model):
        if model in self.loaded and not self.lies:
            self.drop(model)
        elif model in self.loading:
            self.loading.pop(model).set()

    def _cut(self):
        """Requests in flight are ended, but for those of an engine that is beyond listening."""
        served = bool(sum(self.busy.values()))
        if not self.deaf:
            self.busy.clear()
        return served

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._open.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _exchange(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split("\r\n", 1)[0].split(" ")
        fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        content = await reader.readexactly(int(fields.get("content-length", 0)))
        body = json.loads(content) if content else None
        url = urlsplit(target)
        call = f"{method} {unquote(url.path)}"
        self.requests.append((call, body))
        fault = self.faults.get(call, self.fault)
        if fault == "hang":
            await asyncio.Event().wait()
        elif fault == "garbage":
            self._send(writer, 200, b"<html>It works!</html>", "text/html")
        elif fault == "error":
            self._send(writer, 500, json.dumps({"error": "out of order"}).encode())
        elif fault == "redirect":
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n")
            writer.write(b"Content-Length: 0\r\n\r\n")
        elif self.key is not None and not self.is_open(call) and not self._knows(fields):
            status, value = self.locked
            self._send(writer, status, json.dumps(value).encode())
        elif (model := self.model_of(call, body)) is not None:
            await self._work(writer, model, body)
        else:
            query = {k: v[0] for k, v in parse_qs(url.query).items()}
            status, value = self.answer(call, query, body) or self.unknown
            asks = call == "POST /api/show"  # and wants nothing done
            if self.answers_loads_late and not asks and (body or {}).get("model") in self.loading:
                await self.loading[body["model"]].wait()
            plain = isinstance(value, str)
            words = value.encode() if plain else json.dumps(value).encode()
            self._send(writer, status, words, "text/plain" if plain else "application/json")
        await writer.drain()
        return True

    def _knows(self, fields):
        return fields.get("authorization") == f"bearer {self.key}"  # `fields` are in lower case

    async def _work(self, writer, model, body):
        """Serve a client: three words, one event each where it asks for a stream."""
        if model not in self.models:
            return self._send(writer, 404, json.dumps({"error": f"no model {model}"}).encode())
        self.take(model)
        self.busy[model] += 1
        try:
            if body.get("stream"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
                writer.write(b"Transfer-Encoding: chunked\r\n\r\n")
                for word in ("the ", "empty ", "space"):
                    choice = {"index": 0, "delta": {"content": word}}
                    event = f"data: {json.dumps({'model': model, 'choices': [choice]})}\n\n"
                    writer.write(f"{len(event):x}\r\n{event}\r\n".encode())
                    await writer.drain()
                    await self.gate.wait()
                writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")
            else:
                await self.gate.wait()
                message = {"role": "assistant", "content": "the empty space"}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                reply = {"model": model, "choices": [choice], "done": True}
                self._send(writer, 200, json.dumps(reply).encode())
        finally:
            self.busy[model] -= 1
            self.worked[model] += 1

    @staticmethod
    def _send(writer, status, content, kind="application/json"):
        head = f"HTTP/1.1 {status} {ANSWERS[status]}\r\nContent-Type: {kind}\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)


class FakeLlamaRouter(FakeEngine):
    written = 0  # tokens of what is being answered
    unknown = (404, {"error": {"message": "File Not Found", "type": "not_found_error"}})

    def argv(self, model):
        """The command line of the child that holds `model`."""
        port = str(self.port + 1 + self.models.index(model))
        start = ["/opt/llama/llama-server", "--host", "127.0.0.1", "--port", port]
        return [*start, "--alias", model, "--model", f"/models/{model}.gguf"]

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /props":
            return 200, {"role": "router", "build_info": "b1-fake", "models_autoload": True}
        if call in ("GET /models", "GET /v1/models"):
            return 200, {"object": "list", "data": [self._entry(m) for m in self.models]}
        if call == "GET /slots":
            return self._slots(query["model"])
        if call == "POST /models/load":
            return self._load(body["model"])
        if call == "POST /models/unload":
            return self._unload(body["model"])
        return None

    def _runs(self, model):
        return model in self.loaded or model in self.loading

    def _entry(self, model):
        state = "loaded" if model in self.loaded else "loading" if self._runs(model) else "unloaded"
        args = self.argv(model)
        if state == "unloaded" and "--port" in args:
            args[args.index("--port") + 1] = "0"
        entry = {"id": model, "status": {"value": state, "args": args}}
        if state == "loaded":
            entry["meta"] = {"size": self.sizes[model]}
        return entry

    def _slots(self, model):
        if model in self.loading:
            return 503, {"error": {"code": 503, "message": "Loading model"}}
        if model not in self.loaded:
            return self._no("model is not loaded")
        slots = []
        for i in range(max(2, self.busy[model])):
            slot = {"id": i, "is_processing": i < self.busy[model]}
            slot |= {"id_task": self.worked[model]} if self.worked[model] else {}
            slots.append(slot | {"next_token": [{"n_decoded": self.written}]})
        return 200, slots

    def _load(self, model):
        if model not in self.models:
            return self.unknown
        if self._runs(model):
            return self._no("model is already running")
        if not self.fails_loads:  # its child dies, and it is unloaded again
            self._want(model)
        return 200, {"success": True}

    def _unload(self, model):
        if model not in self.models:
            return self._no("model is not found")
        if not self._runs(model):
            return self._no("model is not running")
        self._leave(model)
        return 200, {"success": True}

    @staticmethod
    def _no(message):
        return 400, {"error": {"code": 400, "message": message, "type": "invalid_request_error"}}


class FakeOllama(FakeEngine):
    unknown = (404, "404 page not found")
    answers_loads_late = True

    def argv(self, model):
        """The command line of the child that holds `model`."""
        port = str(self.port + 1 + self.models.index(model))
        return ["/opt/ollama/llama-server", "--model", self._blob(model), "--port", port]

    def model_of(self, call, body):
        asks = call in ("POST /v1/chat/completions", "POST /api/chat")
        return (
            body["model"] if asks or (call == "POST /api/generate" and "prompt" in body) else None
        )

    def answer(self, call, query, body):
        if call == "GET /api/version":
            return 200, {"version": "0.32.15"}
        if call == "GET /api/status":
            return 200, {"cloud": {"disabled": False, "source": "none"}}
        if call == "GET /api/tags":
            return 200, {"models": [self._entry(m) for m in self.models]}
        if call == "GET /api/ps":
            return 200, {"models": [self._held(m) for m in self.loaded]}
        if call == "POST /api/show":
            return 200, {"modelfile": f"# FROM {body['model']}\nFROM {self._blob(body['model'])}\n"}
        if call == "POST /api/generate":
            return self._generate(body["model"], body.get("keep_alive"))
        return None

    def _generate(self, model, keep_alive):
        if model not in self.models:
            return 404, {"error": f"model '{model}' not found"}
        if keep_alive == 0:
            self._leave(model)
        elif self.fails_loads:
            return 500, {"error": "llama runner process has terminated: out of memory"}
        else:
            self._want(model)
        reason = "unload" if keep_alive == 0 else "load"
        return 200, {"model": model, "response": "", "done": True, "done_reason": reason}

    def _entry(self, model):
        digest = hashlib.sha256(model.encode()).hexdigest()
        return {"name": model, "model": model, "size": self.sizes[model], "digest": digest}

    def _held(self, model):
        expiry = f"2026-08-22T10:{self.worked[model]:02}:00Z"
        return self._entry(model) | {"size_vram": self.sizes[model], "expires_at": expiry}

    def _blob(self, model):
        """No other server on this machine has a file of this name."""
        return f"/blobs/sha256-{hashlib.sha256(f'{self.port} {model}'.encode()).hexdigest()}"
