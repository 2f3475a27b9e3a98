"""Docker Model Runner."""

import hashlib

from tests.engines.fake import FakeEngine


def whole(name):
    return name if name.startswith("ai/") else f"ai/{name}:latest"


class FakeDockerModelRunner(FakeEngine):
    """Its models are called ai/NAME:latest, and are asked for as ai/NAME or so."""

    unknown = (404, "404 page not found\n")
    locked = (401, "unauthorized\n")  # of a proxy before it: it knows of no keys itself
    answers_loads_late = True

    def __init__(self, models=("a", "b"), *, sizes=None, **rest):
        sizes = {whole(m): size for m, size in (sizes or {}).items()}
        super().__init__([whole(m) for m in models], sizes=sizes, **rest)

    def argv(self, model):
        path = f"/models/bundles/{self._digest(model).replace(':', '/')}/model/model.gguf"
        start = ["/app/bin/com.docker.llama-server", "-ngl", "999", "--metrics"]
        return [*start, "--model", path, "--host", "inference-runner-0.sock"]

    def model_of(self, call, body):
        chats = call == "POST /engines/v1/chat/completions" and "messages" in body
        return body["model"] if chats else None

    def answer(self, call, query, body):
        if call == "GET /engines/status":
            return 200, {"llama.cpp": "Running: llama.cpp b10068", "vllm": "Not Installed"}
        if call == "GET /version":
            return 200, {"version": "v1.2.6"}
        if call == "GET /models":
            return 200, [self._entry(m) for m in self.models]
        if call == "GET /engines/ps":
            loading = [self._runner(m) | {"loading": True} for m in self.loading]
            return 200, [self._runner(m) for m in self.loaded] + loading
        if call == "POST /engines/unload":
            return 200, {"unloaded_runners": sum(map(self._unload, body["models"]))}
        if call == "POST /engines/v1/chat/completions":
            return self._preload(body["model"])
        return None

    def _preload(self, model):
        if model not in self.models:
            return 404, "model not found\n"
        if self.fails_loads:
            return 500, "unable to load runner: error waiting for runner to be ready\n"
        self._want(model)
        return 200, ""

    def _unload(self, model):
        """Whoever is in use, is loading or is not there is passed over."""
        if model not in self.loaded or self.busy[model]:
            return False
        self._leave(model)
        return True

    def _entry(self, model):
        size = f"{self.sizes[model] / (1 << 20):.2f}MiB"
        config = {"format": "gguf", "architecture": "llama", "size": size}
        return {"id": self._digest(model), "tags": [f"docker.io/{model}"], "config": config}

    def _runner(self, model):
        used = f"2026-08-22T10:{self.worked[model]:02}:00.5Z"
        name = model.removesuffix(":latest")
        entry = {"backend_name": "llama.cpp", "model_name": name, "mode": "completion"}
        if self.busy[model]:
            return entry | {"last_used": "0001-01-01T00:00:00Z", "in_use": True}
        return entry | {"last_used": used}

    def _digest(self, model):
        return f"sha256:{hashlib.sha256(f'{self.port} {model}'.encode()).hexdigest()}"


FAKE = FakeDockerModelRunner
