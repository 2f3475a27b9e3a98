"""vLLM in developer mode. It has one model, which it holds from its start."""

from tests.engines.fake import FakeEngine

LEVELS = {"1": False, "2": True}  # is it deep?


class FakeVllm(FakeEngine):
    starts_loaded = True
    unknown = (404, {"detail": "Not Found"})
    locked = (401, {"error": "Unauthorized"})
    developer = True
    terse = False  # an older one: no gauge of its sleep, and answers without a body

    def __init__(self, models=("a",), **options):
        super().__init__(list(models)[:1], **options)
        self.spoilt = False  # it works with weights that it has lost
        self.paused = False  # by somebody else, with all of its memory
        self._lost = False
        self._out = set()  # parts of its memory that it has given back

    def argv(self, model):
        return ["/usr/bin/python3", "/usr/bin/vllm", "serve", model, "--enable-sleep-mode"]

    def is_open(self, call):
        return not call.split(" ")[1].startswith("/v1")

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        if call == "GET /version":
            return 200, {"version": "0.33.0"}
        if call == "GET /v1/models":
            return 200, {"object": "list", "data": [self._entry(m) for m in self.loaded]}
        if call == "GET /metrics":
            return 200, self._metrics()
        return self._control(call, query, body) if self.developer else None

    def _control(self, call, query, body):
        if call == "GET /is_sleeping":
            return 200, {"is_sleeping": bool(self._out) or self.paused}
        if call == "POST /sleep":
            return self._sleep(query.get("level", "1"))
        if call == "POST /wake_up":
            return self._wake(query.get("tags"))
        if call == "POST /collective_rpc" and body == {"method": "reload_weights"}:
            self._lost = self._lost and "weights" in self._out
            return 200, {"results": [None]}
        return None

    def _sleep(self, level):
        if level not in LEVELS:
            return 400, {"error": {"message": "1 validation error", "code": 400}}
        if not self._out and not self.lies:  # its level is that of the first call
            self.busy.clear()  # requests are aborted
            (model,) = self.models
            self.asleep[model] = self._lost = LEVELS[level]
            self._out = {"weights", "kv_cache"}
            self.on_unload(model)
        return 200, "" if self.terse else {"status": "sleeping", "level": int(level)}

    def _wake(self, tag):
        (model,) = self.models
        self._out -= {"weights", "kv_cache"} if tag is None else {tag}
        if not self._out:
            self.paused = False
            self.spoilt = self.spoilt or self._lost
            if self.asleep.pop(model, None) is not None:
                self.on_load(model)
        state = "sleeping" if self._out else "awake"
        return 200, "" if self.terse else {"status": state, "tags": tag and [tag]}

    def _entry(self, model):
        own = {"id": model, "object": "model", "owned_by": "vllm", "root": model, "parent": None}
        return own | {"max_model_len": 32768}

    def _metrics(self):
        (model,) = self.models
        running = min(2, self.busy[model])
        told = {
            "num_requests_running": running,
            "num_requests_waiting": self.busy[model] - running,
            "generation_tokens_total": 3 * self.worked[model],
        }
        lines = [f'vllm:{k}{{engine="0",model_name="{model}"}} {v:.1f}' for k, v in told.items()]
        # Half awake it is none of these.
        deep = self.asleep.get(model) if len(self._out) == 2 else None
        states = {
            "awake": not self._out,
            "weights_offloaded": deep is False,
            "discard_all": deep is True,
        }
        if not self.terse:
            lines += [
                f'vllm:engine_sleep_state{{engine="0",sleep_state="{k}"}} {float(v)}'
                for k, v in states.items()
            ]
        return "".join(f"{line}\n" for line in lines)


FAKE = FakeVllm
