"""mlx_lm.server: one model that it never names, and what is on disk."""

from tests.engines.fake import FakeEngine


class FakeMlxLm(FakeEngine):
    unknown = (404, "Not Found")
    keyless = True
    single = True
    starts_loaded = True

    def __init__(self, models=("a", "b"), **kwargs):
        super().__init__(["mlx_lm.server"], **kwargs)
        self.on_disk = list(models)

    def answer(self, call, query, body):
        if call == "GET /health":
            return 200, {"status": "ok"}
        if call.startswith("GET /v1/models"):
            wanted = call.removeprefix("GET /v1/models").strip("/")
            found = [m for m in self.on_disk if wanted in ("", m)]
            models = [{"id": m, "object": "model", "created": 1787390000} for m in found]
            return 200, {"object": "list", "data": models}
        return None


FAKE = FakeMlxLm
