"""llama-swap."""

import json

from tests.engines.fake import FakeEngine


class FakeLlamaSwap(FakeEngine):
    unknown = (404, "404 page not found\n")
    locked = (401, {"src": "llama-swap", "error": {"message": "unauthorized: invalid API key"}})
    answers_loads_late = True
    told = ()  # whose requests were in flight when it was asked last

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def argv(self, model):
        port = str(self.port + 1 + self.models.index(model))
        return ["llama-server", "--port", port, "-m", f"/models/{model}.gguf"]

    def answer(self, call, query, body):
        verb, _, path = call.partition(" ")
        if call == "GET /api/version":
            return 200, {"version": "v250", "commit": "fake", "build_date": ""}
        if call == "GET /running":
            return 200, {"running": [self._entry(m) for m in (*self.loaded, *self.loading)]}
        if call == "GET /v1/models":
            meta = {"llamaswap": {"type": "model"}}
            return 200, {"object": "list", "data": [{"id": m, "meta": meta} for m in self.models]}
        if call == "GET /api/events":
            return 200, self._events()
        if verb == "GET" and path.startswith("/upstream/") and path.endswith("/health"):
            return self._start(path.removeprefix("/upstream/").removesuffix("/health"))
        if verb == "POST" and path.startswith("/api/inflight/"):
            return self._cancel(int(path.split("/")[3]))
        if verb == "POST" and path.startswith("/api/models/unload/"):
            return self._unload(path.removeprefix("/api/models/unload/"))
        return None

    def _start(self, model):
        if model not in self.models:
            return self._no(404, "model not found")
        if self.fails_loads:
            return self._no(502, "unable to start process: upstream command exited prematurely")
        self._want(model)
        return 200, {"status": "ok"}

    def _unload(self, model):
        if model not in self.models:
            return self._no(404, "model not found")
        self._leave(model)
        return 200, "OK"

    def _cancel(self, number):
        if number >= len(self.told) or not self.busy[self.told[number]]:
            return self._no(404, "no such request")
        if not self.deaf:
            self.busy[self.told[number]] -= 1
        return 200, {"msg": "ok"}

    def _events(self):
        told = [("logData", {"source": "proxy", "data": "[INFO] listening\n"})]
        self.told = list(self.busy.elements())
        requests = [{"id": str(i), "model": m} for i, m in enumerate(self.told)]
        told.append(("inflight", {"operation": "snapshot", "requests": requests}))
        lines = [json.dumps({"type": kind, "data": json.dumps(data)}) for kind, data in told]
        return "".join(f"event:message\ndata:{line}\n\n" for line in lines)

    def _entry(self, model):
        state = "ready" if model in self.loaded else "starting"
        return {"model": model, "state": state, "cmd": " ".join(self.argv(model)), "ttl": 0}

    @staticmethod
    def _no(status, message):
        return status, {"src": "llama-swap", "error": {"message": message, "param": None}}


FAKE = FakeLlamaSwap
