"""GPUStack: how many replicas a model is to have; its instances follow."""

from tests.engines.fake import FakeEngine

SERVER_OWN = ("id", "created_at", "ready_replicas")


class FakeGPUStack(FakeEngine):
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"code": 401, "reason": "Unauthorized", "message": "Invalid credentials"})

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.replicas = dict.fromkeys(self.models, 0)

    def take(self, model):
        self.replicas[model] = max(1, self.replicas[model])
        super().take(model)

    def argv(self, model):
        """The backend's, in its container."""
        address = ["--host", "127.0.0.1", "--port", str(self._port(model))]
        return ["vllm", "serve", f"/cache/{model}", *address, "--served-model-name", model]

    def is_open(self, call):
        return call == "GET /version"

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /version":
            return 200, {"version": "2.2.3", "git_commit": "47277d7"}
        if call == "GET /v2/models":
            return 200, self._page([self._entry(m) for m in self.models])
        if call == "GET /v2/model-instances":
            there = [m for m in self.models if m in self.loaded or m in self.loading]
            return 200, self._page([self._instance(m) for m in there])
        verb, _, path = call.partition(" ")
        found = [m for m in self.models if path == f"/v2/models/{self._id(m)}"]
        if not found:
            return None
        if verb == "PUT":
            self._scale(found[0], body)
        return 200, self._entry(found[0])

    def _scale(self, model, body):
        assert not body.keys() & set(SERVER_OWN)
        assert body["name"] == model
        self.replicas[model] = body["replicas"]
        if body["replicas"]:
            self._want(model)
        else:
            self._leave(model)

    def _entry(self, model):
        ready = int(model in self.loaded)
        entry = {"id": self._id(model), "name": model, "replicas": self.replicas[model]}
        return entry | {"ready_replicas": ready, "created_at": "2026-08-01T10:00:00Z"}

    def _instance(self, model):
        address = {"worker_ip": "127.0.0.1", "port": self._port(model), "pid": 4711}
        claim = {"computed_resource_claim": {"ram": 0, "vram": {"0": self.sizes[model]}}}
        state = {"state": "running" if model in self.loaded else "starting"}
        return {"id": 1, "model_id": self._id(model)} | address | claim | state

    def _id(self, model):
        return self.models.index(model) + 1

    def _port(self, model):
        return 40_000 + self._id(model)

    @staticmethod
    def _page(items):
        return {"items": items, "pagination": {"page": -1, "total": len(items)}}


FAKE = FakeGPUStack
