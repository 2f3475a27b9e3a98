"""Xinference: a load is answered when it is done; its bytes and its counts are in its metrics."""

from tests.engines.fake import FakeEngine

BYTES = "xinference:model_gpu_memory_used_bytes"


class FakeXinference(FakeEngine):
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"detail": "Could not validate credentials"})
    answers_loads_late = True

    def argv(self, model):
        """Nothing in it says which model it is."""
        return ["/usr/bin/python3", "-c", "from xoscar.backends.indigen.pool import start_sub_pool"]

    def is_open(self, call):
        return call in ("GET /v1/cluster/auth", "GET /metrics")

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        told = {
            "GET /v1/cluster/auth": lambda: {"auth": self.key is not None},
            "GET /v1/cluster/version": lambda: {"version": "3.2.1", "full-revisionid": None},
            "GET /v1/models": lambda: {"object": "list", "data": [*map(self._entry, self.loaded)]},
            "GET /v1/models/instances": self._instances,
            "GET /v1/cache/models": lambda: {"list": [self._spec(m) for m in self.models]},
            "GET /metrics": self._metrics,
        }
        if call in told:
            return 200, told[call]()
        if call.startswith("GET /v1/engines/LLM/"):
            spec = self._spec(call.rpartition("/")[2])
            spec["quantizations"] = [spec.pop("quantization")]
            return 200, {"llama.cpp": [spec], "vLLM": "Engine vLLM library is not installed"}
        if call == "POST /v1/models":
            return self._launch(body)
        if call.startswith("DELETE /v1/models/"):
            return self._terminate(call.rpartition("/")[2])
        return None

    def _spec(self, model):
        size = {"model_size_in_billions": 8, "model_format": "ggufv2", "quantization": "Q4_K_M"}
        return {"model_name": model, "model_version": f"{model}--8B--ggufv2--Q4_K_M"} | size

    def _entry(self, model):
        entry = {"id": model, "object": "model", "owned_by": "xinference", "model_type": "LLM"}
        return entry | self._spec(model) | {"replica": 1, "accelerators": ["0"]}

    def _instances(self):
        states = dict.fromkeys(self.loading, "LOADING") | dict.fromkeys(self.loaded, "READY")
        return [{"model_name": m, "model_uid": m, "status": s} for m, s in states.items()]

    def _metrics(self):
        work = sum(self.worked.values())
        path = 'method="POST",path="/v1/chat/completions"'
        counts = {"requests": work + sum(self.busy.values()), "responses": work}
        lines = []
        for what, count in counts.items():
            lines += [f"# TYPE {what}_total_counter counter"]
            lines += [f"{what}_total_counter{{{path}}} {count}"]
        lines += [
            f'{BYTES}{{gpu_index="0",model_uid="{m}",replica_index="0"}} {self.sizes[m]}'
            for m in self.loaded
        ]
        return "\n".join([*lines, ""])

    def _launch(self, body):
        model = body.get("model_uid")
        if body.get("model_name") not in self.models:
            return 400, {"detail": f"Model {model} not found."}
        if not body.get("model_engine"):
            return 400, {"detail": "Invalid input. Please specify the `model_engine` field."}
        if model in self.loaded:
            return 400, {"detail": f"Model is already in the model list, uid: {model}"}
        if self.fails_loads:
            return 503, {"detail": "No available slot found for the model"}
        self._want(model)
        return 200, {"model_uid": model}

    def _terminate(self, model):
        if model in self.loading:
            return 400, {"detail": f"{model}-rep0 is launching"}
        if model not in self.loaded:
            return 400, {"detail": f"Model not found in the model list, uid: {model}"}
        self._leave(model)
        return 200, None


FAKE = FakeXinference
