"""A server of nobody's, with words of its own for everything: what a description has to bridge."""

from supervisor.config.described import Description
from tests.engines.fake import FakeEngine

OPTIONS = {
    "list_api": "/cellar/casks",
    "models": "$.casks[*]",
    "name": "$.label",
    "state": "$.phase",
    "loaded": ["tapped"],
    "loading": ["tapping"],
    "sleeping": ["bunged"],
    "unloaded": ["stored"],
    "bytes": "$.holds.mib",
    "gpu_bytes": "$.holds.vram_mib",
    "file_bytes": "$.disk_mib",
    "bytes_unit": "MiB",
    "context": "$.window",
    "pid": "$.process.id",
    "last_used": "$.poured",
    "activity_api": "/cellar/casks/${MODEL}/queue",
    "in_flight": "$['running', 'waiting']",
    "identify_api": "/cellar/about",
    "identify_pick": "$.cellar.version",
    "load_api": "/cellar/casks/${MODEL}",
    "load_method": "PUT",
    "unload_api": "/cellar/casks/${MODEL}",
    "unload_method": "DELETE",
    "sleep_api": "/cellar/bung",
    "sleep_body": {"cask": "${MODEL}", "firmly": True},
    "wake_api": "/cellar/unbung",
    "wake_headers": {"X-Cask": "${MODEL}"},
    "wake_body": '{"casks": ["${MODEL}"], "by": null}',
    "success": "$.outcome",
    "success_values": ["done", "under way"],
}


class FakeCellar(FakeEngine):
    unknown = (404, {"problem": "no such thing in this cellar"})

    @classmethod
    def options(cls):
        return Description.model_validate(OPTIONS)

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        method, _, path = call.partition(" ")
        if call == "GET /cellar/about":
            return 200, {"cellar": {"version": "3.1"}}
        if call == "GET /cellar/casks":
            return 200, {"casks": [self._entry(m) for m in self.models]}
        if path == "/cellar/bung":
            return self._bung(body["cask"])
        if path == "/cellar/unbung":
            self.asleep.pop(body["casks"][0], None)
            return 200, {"outcome": "done"}
        model = path.removeprefix("/cellar/casks/").removesuffix("/queue")
        if not path.startswith("/cellar/casks/") or model not in self.models:
            return None
        if method == "GET":
            return 200, {
                "running": min(1, self.busy[model]),
                "waiting": max(0, self.busy[model] - 1),
            }
        if method == "PUT":
            return self._tap(model)
        self._leave(model)
        return 200, {"outcome": "done"}

    def _tap(self, model):
        if self.fails_loads:
            return 200, {"outcome": "the cask burst"}
        self._want(model)
        return 200, {"outcome": "under way" if model in self.loading else "done"}

    def _bung(self, model):
        if model not in self.loaded:
            return self.unknown
        self.asleep[model] = False
        return 200, {"outcome": "done"}

    def _entry(self, model):
        held = model in self.loaded and self.sizes[model] >> 20
        phase = "stored"
        if model in self.loaded:
            phase = "bunged" if model in self.asleep else "tapped"
        elif model in self.loading:
            phase = "tapping"
        return {
            "label": model,
            "phase": phase,
            "holds": {"mib": held, "vram_mib": held} if held else None,
            "disk_mib": self.sizes[model] >> 20,
            "window": 4096,
            "process": {"id": self.pids[model] if held else 0},
            "poured": self.worked[model],
        }


FAKE = FakeCellar
