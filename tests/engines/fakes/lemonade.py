"""Lemonade: a child for each model. An unload of a busy one waits, and nobody is answered."""

from tests.engines.fake import FakeEngine


class FakeLemonade(FakeEngine):
    unknown = (404, {"error": "Not found"})
    locked = (401, {"error": "Invalid or missing API key"})

    def is_open(self, call):
        return call == "GET /live"

    def argv(self, model):
        """The command line of the child that holds `model`."""
        port = str(self.port + 1 + self.models.index(model))
        return ["/opt/lemonade/llama-server", "-m", f"/models/{model}.gguf", "--port", port]

    def model_of(self, call, body):
        return body["model"] if call == "POST /api/v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /api/v1/health":
            return 200, {
                "status": "ok",
                "version": "11.7.0",
                "all_models_loaded": [self._held(m) for m in self.loaded],
                "max_models": {"llm": -1, "embedding": -1},
            }
        if call == "GET /api/v1/models":
            return 200, {"object": "list", "data": [self._entry(m) for m in self.models]}
        if call == "GET /internal/config":
            return 200, {"auto_evict": False, "max_loaded_models": -1}
        if call == "POST /api/v1/load":
            return self._load(body["model_name"])
        if call == "POST /api/v1/unload":
            return self._unload((body or {}).get("model_name"))
        return None

    def _held(self, model):
        return {
            "model_name": model,
            "recipe": "llamacpp",
            "pid": self.pids[model],
            "launch_command": self.argv(model),
            "status": "in_use" if self.busy[model] else "ready",
            "is_busy": self.busy[model] > 0,
            "is_streaming": False,
            "last_use": 1787390000000 + self.worked[model],
            "recipe_options": {"ctx_size": 8192},
        }

    def _entry(self, model):
        size = self.sizes[model] / 1024**3
        return {"id": model, "recipe": "llamacpp", "downloaded": True, "size": size}

    def _load(self, model):
        if model not in self.models:
            return self._no(404, f"Model not found: {model}")
        if self.fails_loads:
            for other in list(self.loaded):  # it makes all the room there is, and tries again
                self.drop(other)
            return self._no(500, f"Failed to load model '{model}': llama-server failed to start")
        self._want(model)
        return 200, {"status": "success", "model_name": model}

    def _unload(self, model):
        for other in [model] if model else list(self.loaded):
            if other not in self.loaded:
                return 404, {"error": f"Model not loaded: {other}"}
            if self.busy[other]:
                self.fault = "hang"  # from now on
            else:
                self._leave(other)
        return 200, {"status": "success"}

    @staticmethod
    def _no(status, message):
        return status, {"error": {"message": message, "type": "model_load_error"}}


FAKE = FakeLemonade
