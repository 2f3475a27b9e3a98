"""LocalAI."""

from tests.engines.fake import FakeEngine

NOT_FOUND = (404, {"error": {"code": 404, "message": "Resource not found", "type": ""}})


class FakeLocalAI(FakeEngine):
    unknown = NOT_FOUND
    locked = (401, {"error": {"code": 401, "message": "Authentication required"}})
    answers_loads_late = True

    def is_open(self, call):
        return call == "GET /.well-known/localai.json"

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def argv(self, model):
        """Nothing in it names the model."""
        port = self.port + 1 + self.models.index(model)
        return ["/backends/cuda12-llama-cpp/llama-cpp-avx2", "--addr", f"127.0.0.1:{port}"]

    def answer(self, call, query, body):
        if call == "GET /.well-known/localai.json":
            return 200, {"version": "v4.9.0 (fake)", "endpoints": {"models": "/v1/models"}}
        if call == "GET /v1/models":
            data = [{"id": m, "object": "model"} for m in self.models]
            return 200, {"object": "list", "data": data}
        if call == "GET /system":
            loaded = [{"id": m, "backend": "llama-cpp"} for m in self.loaded]
            return 200, {"backends": ["llama-cpp"], "loaded_models": loaded or None}
        if call == "GET /api/settings":
            return 200, {"watchdog_idle_enabled": False, "max_active_backends": 0}
        if call == "POST /backend/load":
            return self._load(body["model"])
        if call == "POST /backend/shutdown":
            return self._shutdown(body["model"])
        return None

    def _load(self, model):
        if self.fails_loads or model not in self.models:
            return 500, {"loaded": [], "message": "failed to load model: rpc error"}
        self._want(model)
        return 200, {"loaded": [model], "message": "model loaded"}

    def _shutdown(self, model):
        if model not in self.loaded:
            return NOT_FOUND
        self._leave(model)
        return 200, {"message": "model stopped"}


FAKE = FakeLocalAI
