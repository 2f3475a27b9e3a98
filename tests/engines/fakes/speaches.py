"""speaches, with its way of forgetting what it refused to unload."""

from tests.engines.fake import FakeEngine


class FakeSpeaches(FakeEngine):
    unknown = (404, {"detail": "Not Found"})
    locked = (403, {"detail": "Invalid API key. The provided API key is incorrect."})

    def __init__(self, models=("a", "b"), **options):
        super().__init__(models, **options)
        self.forgotten = set()  # in memory, and no longer listed
        self.broken = set()  # listed, though their load has failed

    def is_open(self, call):
        return call in ("GET /health", "GET /openapi.json")

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/audio/speech" else None

    def answer(self, call, query, body):
        if call == "GET /health":
            return 200, {"message": "OK"}
        if call == "GET /openapi.json":
            paths = {"/api/ps": {}, "/api/ps/{model_id}": {}}
            return 200, {"info": {"title": "Speaches", "version": "0.8.3"}, "paths": paths}
        if call == "GET /v1/models":
            return 200, {"object": "list", "data": [{"id": m} for m in self.models]}
        if call == "GET /api/ps":
            return 200, {"models": self._listed()}
        method, _, model = call.partition(" /api/ps/")
        return {"POST": self._load, "DELETE": self._unload}[method](model) if model else None

    def _listed(self):
        return [m for m in self.loaded if m not in self.forgotten] + sorted(self.broken)

    def _load(self, model):
        if model in self._listed():
            return 409, {"message": f"Model '{model}' is already loaded."}
        if model not in self.models:
            return 404, {"detail": f"Model '{model}' is not installed locally."}
        if self.fails_loads:
            self.broken.add(model)
            return 500, "Internal Server Error"
        self._want(model)
        return 201, {"message": f"Model '{model}' loaded."}

    def _unload(self, model):
        if model not in self._listed():
            return 404, {"message": f"Model {model} is not loaded."}
        if model in self.broken:
            self.broken.remove(model)
            return 409, {"message": f"Model {model} is not loaded. self.ref_count=0"}
        if count := self.busy[model]:
            self.forgotten.add(model)
            return 409, {"message": f"Model {model} is still in use. self.ref_count={count}"}
        self._leave(model)
        return 200, {"message": f"Model {model} unloaded."}


FAKE = FakeSpeaches
