"""Triton, whose models are of its Python backend: each has a process, a stub, of its own."""

from tests.engines.fake import FakeEngine

NEVER = {"error": "explicit model load / unload is not allowed if polling is enabled"}


class FakeTriton(FakeEngine):
    unknown = (404, {"error": "Not Found"})
    locked = (403, {"error": "This API is restricted, expecting header 'authorization'"})
    explicit = True

    def argv(self, model):
        stub = "/opt/tritonserver/backends/python/triton_python_backend_stub"
        code = f"/models/{model}/1/model.py"
        region = "triton_python_backend_shm_region_1"
        words = [stub, code, region, "1048576", "1048576", "910", "/opt/tritonserver/backends"]
        return [*words, "336", f"{model}_0", "DEFAULT"]

    def is_open(self, call):
        return call == "GET /v2"

    def model_of(self, call, body):
        return body["model"] if call == "POST /v2/models/infer" else None

    def answer(self, call, query, body):
        if call == "GET /v2":
            return 200, {"name": "triton", "version": "2.73.0", "extensions": ["model_repository"]}
        if call == "POST /v2/repository/index":
            return 200, [self._entry(m) for m in self.models]
        if call == "GET /v2/models/stats":
            return 200, {"model_stats": [self._stats(m) for m in self.loaded]}
        method, _, path = call.partition(" /v2/")
        match method, path.split("/"):
            case "GET", ["models", model, "config"] if model in self.loaded:
                group = {"name": model, "count": 1}
                return 200, {"name": model, "backend": "python", "instance_group": [group]}
            case "POST", ["repository", "models", model, what]:
                return self._control(model, what)
        return None

    def _control(self, model, what):
        if not self.explicit:
            return 503, NEVER
        if what == "unload":
            self._leave(model)
            return 200, ""
        if model not in self.models:
            words = f"failed to load '{model}', failed to poll from model repository"
            return 500, {"error": words}
        if self.fails_loads:
            return 500, {"error": f"failed to load '{model}', no version is available"}
        self._want(model)
        return 200, ""

    def _entry(self, model):
        if model in self.loading:
            return {"name": model, "version": "1", "state": "LOADING"}
        return {"name": model} | (
            {"version": "1", "state": "READY"} if model in self.loaded else {}
        )

    def _stats(self, model):
        count = self.worked[model]
        return {
            "name": model,
            "version": "1",
            "last_inference": 1787390000000 + count if count else 0,
            "execution_count": count,
            "memory_usage": [],
        }


FAKE = FakeTriton
