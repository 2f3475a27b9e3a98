"""text-generation-webui: one model at a time; the old one goes before the new one is looked for."""

from tests.engines.fake import FakeEngine


class FakeTextGen(FakeEngine):
    single = True
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"detail": "Unauthorized"})

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        start = "/v1/internal/model"
        if call == f"GET {start}/info":
            name = self.loaded[0] if self.loaded else "None"
            return 200, {"model_name": name, "lora_names": [], "loader": "llama.cpp"}
        if call == f"GET {start}/list":
            return 200, {"model_names": self.models}
        if call == "POST /v1/internal/stop-generation":
            self._cut()
            return 200, '"OK"'
        if call == f"POST {start}/unload":
            self._empty()
            return 200, '"OK"'
        if call == f"POST {start}/load":
            self._empty()
            if body["model_name"] not in self.models or self.fails_loads:
                return 500, {"detail": "Failed to load the model."}
            self._want(body["model_name"])
            return 200, '"OK"'
        return None

    def _empty(self):
        for model in list(self.loaded):
            self._leave(model)


FAKE = FakeTextGen
