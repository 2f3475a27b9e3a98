"""TorchServe's management API: a model is in memory while it has a worker."""

from tests.engines.fake import FakeEngine


class FakeTorchServe(FakeEngine):
    unknown = (404, {"code": 404, "type": "ResourceNotFoundException", "message": "not found"})
    locked = (
        400,
        {
            "code": 400,
            "type": "InvalidKeyException",
            "message": "Token Authorization failed. Token either incorrect, expired, or not"
            " provided correctly",
        },
    )
    on_gpu = False

    def is_open(self, call):
        return call == "GET /api-description"

    def model_of(self, call, body):
        name = call.removeprefix("POST /predictions/")
        return None if name == call else name

    def answer(self, call, query, body):
        if call == "GET /api-description":
            info = {"title": "TorchServe APIs", "version": "0.12.0"}
            return 200, {"info": info, "paths": {"/models": {}, "/models/{model_name}": {}}}
        if call == "GET /models":
            return 200, {"models": [{"modelName": m, "modelUrl": f"{m}.mar"} for m in self.models]}
        method, _, path = call.partition(" /models/")
        model = path.partition("/")[0]
        if model not in self.models:
            words = {"type": "ModelNotFoundException", "message": f"Model not found: {model}"}
            return (404, {"code": 404, **words}) if path else None
        if method == "GET":
            return 200, [self._described(model)]
        return self._scale(model, int(query["min_worker"]))

    def _scale(self, model, least):
        if least == 0:
            self._leave(model)
        elif self.fails_loads:
            words = f"Failed to start workers for model {model} version: null"
            return 500, {"code": 500, "type": "InternalServerException", "message": words}
        else:
            self._want(model)
        return 200, {"status": f"Workers scaled to {least} for model: {model}"}

    def _described(self, model):
        workers = [self._worker(model)] if model in self.loaded or model in self.loading else []
        return {
            "modelName": model,
            "modelVersion": "1.0",
            "minWorkers": len(workers),
            "maxWorkers": len(workers),
            "workers": workers,
            "jobQueueStatus": {"remainingCapacity": 100, "pendingRequests": 0},
        }

    def _worker(self, model):
        status = "READY" if model in self.loaded else "UNLOADING"
        return {"id": "9000", "status": status, "pid": self.pids[model], "gpu": self.on_gpu}


FAKE = FakeTorchServe
