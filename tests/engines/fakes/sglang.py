"""SGLang with its memory saver. It has one model, which it holds from its start."""

from tests.engines.fake import FakeEngine

OPEN = ("GET /ready", "GET /health", "GET /metrics")


class FakeSgLang(FakeEngine):
    starts_loaded = True
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"error": "Unauthorized"})
    saver = True  # --enable-memory-saver
    backup = True  # --enable-weights-cpu-backup

    def __init__(self, models=("a",), **options):
        super().__init__(list(models)[:1], **options)
        self.starts = 1
        self.paused = False
        self.dead = None  # why: it was asked for what kills it
        self.spoilt = False  # it works with weights that it has lost
        self.stray = 0  # requests that come as it is paused
        self._lost = False

    def argv(self, model):
        return ["python", "-m", "sglang.launch_server", "--model-path", model]

    def is_open(self, call):
        return call in OPEN

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def restart(self):
        """By somebody else: it holds all of its memory again."""
        (model,) = self.models
        if self.asleep.pop(model, None) is not None:
            self.on_load(model)
        self.starts, self.paused, self.dead, self._lost = self.starts + 1, False, None, False

    def answer(self, call, query, body):
        if self.dead:
            raise ConnectionError(self.dead)
        (model,) = self.models
        if call == "GET /model_info":
            return 200, {"model_path": f"/models/{model}", "is_generation": True}
        if call == "GET /server_info":
            return 200, self._info(model)
        if call == "GET /v1/models":
            return 200, {"object": "list", "data": [self._entry(m) for m in self.loaded]}
        if call == "GET /v1/loads":
            return 200, {"loads": [self._load(model)]}
        if call == "GET /ready":
            return (503 if self.paused else 200), ""
        if call == "GET /health" and self.asleep:
            self._die("it generates in memory that it has given back")
        return self._control(call, body, model) if isinstance(body, dict) else None

    def _control(self, call, body, model):
        if call == "POST /abort_request":
            if body["abort_all"]:
                self._cut()
            return 200, None
        if call == "POST /pause_generation":
            self.paused = True
            self.busy[model] = self.stray  # the others are aborted
        elif call == "POST /continue_generation":
            self.paused = False
            self.spoilt = self.spoilt or self._lost
            if self.asleep:
                self._die("it serves from memory that it has given back")
        elif call == "POST /release_memory_occupation":
            self._release(model)
            return 200, None
        elif call == "POST /resume_memory_occupation":
            self._resume(model)
            return 200, None
        elif call == "POST /update_weights_from_disk":
            good = body["model_path"] == f"/models/{model}" and not self.fails_loads
            self._lost = self._lost and not good
            return (200 if good else 400), {"success": good, "message": "no such file"}
        else:
            return None
        return 200, {"status": "ok", "message": "Generation is what was asked."}

    def _release(self, model):
        if not self.saver or self.lies:
            return
        if self.busy[model] or not self.paused:
            self._die("release_memory_occupation should be called only when server is idle.")
        if self.asleep:
            self._die("it has given its memory back already")
        self.asleep[model] = self._lost = not self.backup
        self.on_unload(model)

    def _resume(self, model):
        if model not in self.asleep:
            self._die("KeyError: 'weights'")
        del self.asleep[model]
        self.on_load(model)

    def _die(self, why):
        self.dead = why
        raise ConnectionError(why)

    def _info(self, model):
        return {
            "model_path": f"/models/{model}",
            "enable_memory_saver": self.saver,
            "enable_weights_cpu_backup": self.backup,
            "startup_time": 41.2,
            "random_seed": 1000 + self.starts,
            "internal_states": [{}],
            "version": "0.5.23",
        }

    def _entry(self, model):
        own = {"id": model, "object": "model", "owned_by": "sglang", "root": model, "parent": None}
        return own | {"max_model_len": 40960}

    def _load(self, model):
        running = min(2, self.busy[model])
        return {
            "dp_rank": 0,
            "num_running_reqs": running,
            "num_waiting_reqs": self.busy[model] - running,
            "total_prefill_uncached_tokens": 7 * self.worked[model],
            "queues": {"waiting": self.busy[model] - running, "grammar": 0, "retracted": 0},
        }


FAKE = FakeSgLang
