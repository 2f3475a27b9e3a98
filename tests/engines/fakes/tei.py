"""Text Embeddings Inference. It has one model, which it holds from its start."""

from tests.engines.fake import FakeEngine


class FakeTei(FakeEngine):
    starts_loaded = True
    unknown = (404, "")
    locked = (401, "")

    def __init__(self, models=("a",), **options):
        super().__init__(list(models)[:1], **options)

    def argv(self, model):
        return ["text-embeddings-router", "--model-id", model]

    def is_open(self, call):
        return call == "GET /metrics"

    def model_of(self, call, body):
        return body["model"] if call == "POST /v1/embeddings" else None

    def answer(self, call, query, body):
        (model,) = self.models
        if call == "GET /info" and self.loaded:
            own = {"model_id": model, "served_model_name": model, "version": "1.9.3"}
            more = {"max_batch_tokens": 16384, "max_input_length": 512}
            return 200, own | more | {"model_type": {"embedding": {"pooling": "mean"}}}
        if call == "GET /metrics":
            done = self.worked[model]
            told = {
                "te_request_count": done + self.busy[model],
                "te_request_success": done,
                "te_queue_size": self.busy[model],
            }
            # Each of them appears when it first counts.
            return 200, "".join(_metric(name, n) for name, n in told.items() if done or n)
        return None


def _metric(name, value):
    kind, labels = "gauge", ""
    if name.startswith("te_request_"):
        kind, labels = "counter", '{method="single"}'
    return f"# TYPE {name} {kind}\n{name}{labels} {value}\n\n"


FAKE = FakeTei
