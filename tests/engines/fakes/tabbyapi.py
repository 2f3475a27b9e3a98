"""TabbyAPI: one model at a time; how a load goes is a list of events."""

import json

from tests.engines.fake import FakeEngine

NOBODY = (503, {"detail": "No models are currently loaded."})


class FakeTabby(FakeEngine):
    single = True
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"detail": "Invalid API key"})

    def is_open(self, call):
        return call in ("GET /.well-known/serviceinfo", "GET /health")

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /.well-known/serviceinfo":
            return 200, {"version": 0.1, "software": {"name": "TabbyAPI"}}
        if call == "GET /v1/auth/permission":
            return 200, {"permission": "admin"}
        if call == "GET /v1/models":
            return 200, {"object": "list", "data": [self._card(m) for m in self.models]}
        if call == "GET /v1/model":
            return (200, self._card(self.loaded[0])) if self.loaded else NOBODY
        if call == "POST /v1/model/load":
            return self._load(body["model_name"])
        if call == "POST /v1/model/unload":
            if not self.loaded:
                return NOBODY
            self._leave(self.loaded[0])
            return 200, "null"
        return None

    def _load(self, model):
        if model not in self.models:
            return 400, {"detail": "Could not find the model path for load."}
        events = [{"model_type": "model", "module": 1, "modules": 2, "status": "processing"}]
        if self.fails_loads:
            for other in list(self.loaded):
                self.drop(other)
            events.append({"error": {"message": "CUDA out of memory.", "trace": None}})
        else:
            self._want(model)
            events.append({"model_type": "model", "module": 2, "modules": 2, "status": "finished"})
        return 200, "".join(f"data: {json.dumps(event)}\r\n\r\n" for event in events)

    def _card(self, model):
        there = {"max_seq_len": 32768, "draft": None} if model in self.loaded else None
        return {"id": model, "object": "model", "owned_by": "tabbyAPI", "parameters": there}


FAKE = FakeTabby
