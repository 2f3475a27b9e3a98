"""Text Generation Inference. It has one model, which it holds from its start."""

from tests.engines.fake import FakeEngine


class FakeTgi(FakeEngine):
    starts_loaded = True
    keyless = True  # what it is asked for here needs none
    unknown = (404, "")

    def __init__(self, models=("a",), **options):
        super().__init__(list(models)[:1], **options)

    def argv(self, model):
        return ["text-generation-launcher", "--model-id", model]

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/chat/completions" else None

    def answer(self, call, query, body):
        (model,) = self.models
        if call == "GET /info" and self.loaded:
            own = {"model_id": model, "router": "text-generation-router", "version": "3.3.7"}
            return 200, own | {"max_best_of": 2, "max_total_tokens": 4096}
        if call == "GET /metrics":
            running = min(2, self.busy[model])
            done = self.worked[model]
            told = {
                "tgi_request_count": done + self.busy[model],
                "tgi_request_success": done,
                "tgi_batch_current_size": running,
                "tgi_queue_size": self.busy[model] - running,
            }
            # Each of them appears when it first counts.
            return 200, "".join(_metric(name, n) for name, n in told.items() if done or n)
        return None


def _metric(name, value):
    kind = "counter" if name.startswith("tgi_request_") else "gauge"
    return f"# TYPE {name} {kind}\n{name} {value}\n\n"


FAKE = FakeTgi
