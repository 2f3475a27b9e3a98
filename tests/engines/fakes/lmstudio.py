"""LM Studio."""

from tests.engines.fake import FakeEngine

NOT_FOUND = (404, {"error": {"message": "Model not found", "type": "model_not_found"}})


class FakeLMStudio(FakeEngine):
    unknown = (200, {"error": "Unexpected endpoint or method."})
    locked = (401, {"error": {"message": "Invalid API token", "code": "invalid_api_key"}})
    answers_loads_late = True
    just_in_time = False

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /lmstudio-greeting":
            return 200, {"lmstudio": True}
        if call == "GET /api/v1/models":
            return 200, {"models": [self._entry(m) for m in self.models]}
        if call == "GET /v1/models":
            offered = self.models if self.just_in_time else self.loaded
            return 200, {"object": "list", "data": [{"id": m, "object": "model"} for m in offered]}
        if call == "POST /api/v1/models/load":
            return self._load(body["model"])
        if call == "POST /api/v1/models/unload":
            return self._unload(body["instance_id"])
        return None

    def _load(self, model):
        if model not in self.models:
            return NOT_FOUND
        if self.fails_loads:
            return 500, {"error": {"message": "Failed to load model", "type": "model_load_failed"}}
        if model in self.loaded:  # once more
            self.models.append(f"{model}:2")
            model = f"{model}:2"
        self._want(model)
        return 200, {"type": "llm", "instance_id": model, "status": "loaded"}

    def _unload(self, model):
        if model not in self.loaded:
            return NOT_FOUND
        self._leave(model)
        return 200, {"instance_id": model}

    def _entry(self, model):
        config = {"context_length": 8192, "parallel": 4}
        held = [{"id": model, "config": config}] if model in self.loaded else []
        size = self.sizes.get(model, 1 << 30)
        return {"type": "llm", "key": model, "size_bytes": size, "loaded_instances": held}


FAKE = FakeLMStudio
