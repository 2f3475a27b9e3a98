"""KoboldCpp in admin mode: one model at a time, by its file. Whatever happened, it says 200."""

from tests.engines.fake import FakeEngine


class FakeKobold(FakeEngine):
    single = True
    unknown = (404, "<html><body>404</body></html>")
    trusts = True  # whoever asked last has brought the right password, or there is none

    def _knows(self, fields):
        """Nobody is turned away: they are told less."""
        self.trusts = super()._knows(fields)
        return True

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /api/extra/version":
            about = {"result": "KoboldCpp", "version": "1.104", "protected": self.key is not None}
            return 200, about | {"llm": bool(self.loaded), "txt2img": False, "admin": 2}
        if call == "GET /api/v1/model":
            name = f"koboldcpp/{self.loaded[0]}" if self.loaded else "inactive"
            return 200, {"result": name if self.trusts else "koboldcpp/protected-model"}
        if call == "GET /api/admin/list_options":
            files = [f"{m}.gguf" for m in self.models]
            return 200, [*files, "unload_model"] if self.trusts else []
        if call == "GET /api/extra/perf":
            requests, served = sum(self.busy.values()), sum(self.worked.values())
            queue, idle = max(0, requests - 1), int(requests == 0)
            return 200, {"queue": queue, "idle": idle, "total_gens": served}
        if call == "GET /v1/models":
            return 200, {"object": "list", "data": [{"id": m} for m in self.loaded or ["inactive"]]}
        if call == "POST /api/extra/abort":
            return 200, {"success": "true" if self._cut() else "false", "done": "true"}
        if call == "POST /api/admin/reload_config":
            return 200, {"success": self.trusts and self._reload(body["filename"])}
        return None

    def _reload(self, file):
        if file == "unload_model":
            for model in list(self.loaded):
                self._leave(model)
            return True
        model = file.removesuffix(".gguf")
        if model in self.models and not self.fails_loads:
            self._want(model)
        return model in self.models


FAKE = FakeKobold
