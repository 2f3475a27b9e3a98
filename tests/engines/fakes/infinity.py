"""Infinity. It holds the models that it was started with: its first, and those that are taken."""

from tests.engines.fake import FakeEngine


class FakeInfinity(FakeEngine):
    starts_loaded = True
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"detail": "Unauthorized"})

    def argv(self, model):
        return ["infinity_emb", "v2", "--model-id", model]

    def is_open(self, call):
        return call != "GET /models"

    def model_of(self, call, body):
        return body["model"] if call == "POST /embeddings" else None

    def answer(self, call, query, body):
        if call == "GET /models":
            return 200, {"object": "list", "data": [self._entry(m) for m in self.loaded]}
        if call == "GET /openapi.json":
            return 200, {"openapi": "3.1.0", "info": {"title": "♾️ Infinity", "version": "0.0.77"}}
        if call == "GET /metrics":
            labels = 'handler="/embeddings",method="POST",status="2xx"'
            return 200, f"http_requests_total{{{labels}}} {self.worked.total()}\n"
        return None

    def _entry(self, model):
        stats = {"queue_absolute": self.busy[model], "results_pending": 0, "batch_size": 32}
        return {"id": model, "object": "model", "owned_by": "infinity", "stats": stats}


FAKE = FakeInfinity
