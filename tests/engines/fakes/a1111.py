"""AUTOMATIC1111: one checkpoint is current, on the GPU or in RAM."""

from base64 import b64encode

from tests.engines.fake import FakeEngine

LEFT = 32 << 20  # what torch keeps when the checkpoint has left


class FakeA1111(FakeEngine):
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"detail": "Incorrect username or password"})
    single = True
    forge = False

    def __init__(self, models=("a", "b"), **options):
        super().__init__(models, **options)
        self.current = self.models[0]

    def take(self, model):
        super().take(model)
        self.current = model

    def model_of(self, call, body):
        return self.current if call == "POST /sdapi/v1/txt2img" else None

    def answer(self, call, query, body):
        if call == "GET /sdapi/v1/memory":
            return 200, {"ram": {"used": 1 << 30}, "cuda": {"reserved": {"current": self._held()}}}
        if call == "GET /sdapi/v1/sd-models":
            return 200, [self._entry(m) for m in self.models]
        if call == "GET /sdapi/v1/options":
            return 200, self._options()
        if call == "GET /sdapi/v1/progress":
            count = self.busy[self.current]
            return 200, {"state": {"job_count": count, "job_timestamp": str(self.worked.total())}}
        if call == "POST /sdapi/v1/interrupt":
            self._cut()
            return 200, {}
        if call == "POST /sdapi/v1/options":
            return self._choose(body["sd_model_checkpoint"])
        if call == "POST /sdapi/v1/reload-checkpoint":
            if not self.forge:
                self.take(self.current)
            return 200, {}
        if call == "POST /sdapi/v1/unload-checkpoint":
            self.take(self.current)  # it has to have one to move it
            self._leave(self.current)
            return 200, {}
        return None

    def _held(self):
        return LEFT + sum(self.sizes[m] for m in self.loaded)

    def _entry(self, model):
        return {
            "title": f"{model} [{self._digest(model)[:10]}]",
            "model_name": model,
            "sha256": self._digest(model),
            "filename": f"/models/Stable-diffusion/{model}",
        }

    def _options(self):
        forge = {"forge_preset": "sd"} if self.forge else {}
        return forge | {
            "sd_model_checkpoint": self._entry(self.current)["title"],
            "sd_checkpoint_hash": self._digest(self.current),
        }

    def _choose(self, title):
        for model in self.models:
            if title in (model, self._entry(model)["title"]):
                self.current = model
                if not self.forge:
                    self.take(model)
                return 200, None
        return 500, {"error": "RuntimeError", "errors": f"model {title!r} not found"}

    @staticmethod
    def _digest(model):
        return model.encode().hex().ljust(64, "0")[:64]

    def _knows(self, fields):
        """By a name and a password where the key has both; `fields` are in lower case."""
        if ":" in self.key:
            login = b64encode(self.key.encode()).decode().lower()
            return fields.get("authorization") == f"basic {login}"
        return super()._knows(fields)


FAKE = FakeA1111
