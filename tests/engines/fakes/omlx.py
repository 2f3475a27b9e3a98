"""oMLX: one process holds every model, and counts the requests of all of them together."""

from tests.engines.fake import FakeEngine


class FakeOmlx(FakeEngine):
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"error": {"message": "Invalid API key", "type": "authentication_error"}})

    def is_open(self, call):
        return call == "GET /health"

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /health":
            return 200, {"status": "healthy", "engine_pool": {"loaded_count": len(self.loaded)}}
        if call == "GET /v1/models/status":
            return 200, self._status()
        if call == "GET /api/status":
            return 200, self._counts()
        start = "POST /v1/models/"
        if call.startswith(start):
            model, _, verb = call.removeprefix(start).rpartition("/")
            if model and "/" not in model and verb in ("load", "unload"):
                return self._load(model) if verb == "load" else self._unload(model)
        return None

    def _status(self):
        held = sum(self.sizes[m] for m in self.loaded)
        models = [self._entry(m) for m in self.models]
        virtual = {"id": "markitdown", "loaded": True, "is_loading": False, "estimated_size": 0}
        virtual |= {"actual_size": 0, "engine_type": "markitdown", "last_access": None}
        return {"final_ceiling": 0, "current_model_memory": held, "models": [*models, virtual]}

    def _entry(self, model):
        there = model in self.loaded
        return {
            "id": model,
            "loaded": there,
            "is_loading": model in self.loading,
            "estimated_size": self.sizes[model],
            "actual_size": self.sizes[model] if there else None,
            "engine_type": "batched",
            "last_access": 1787390000.0 + self.worked[model] if there else None,
            "max_context_window": 8192,
        }

    def _counts(self):
        return {
            "status": "ok",
            "version": "0.4.5",
            "uptime_seconds": 1.5 * len(self.requests),
            "active_requests": sum(self.busy.values()),
            "waiting_requests": 0,
        }

    def _load(self, model):
        if model not in self.models:
            return self._no(404, f"Model not found: {model}")
        if model in self.loading:
            return self._no(500, f"Model {model} is already being loaded")
        if self.fails_loads:
            return self._no(500, "Model requires 60.0GB but only 48.0GB available")
        self._want(model)
        return 200, {"status": "ok", "model_id": model, "message": f"Loaded {model}"}

    def _unload(self, model):
        if model not in self.models:
            return self._no(404, f"Model not found: {model}")
        if model not in self.loaded:
            return self._no(400, f"Model not loaded: {model}")
        self._leave(model)
        return 200, {"status": "ok", "model_id": model}

    @staticmethod
    def _no(status, message):
        return status, {"error": {"message": message, "type": "server_error", "code": None}}


FAKE = FakeOmlx
