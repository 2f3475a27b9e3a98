"""What MLServer serves: a model file, by llama.cpp's library in its own process.

Runs in the environment of that server, which is not the one of the tests.
"""

import xllamacpp
from mlserver import MLModel
from mlserver.codecs import StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

CONTEXT = 24576  # tokens: 540 MiB of cache, so that most of the process is the model


class Gguf(MLModel):
    async def load(self) -> bool:
        params = xllamacpp.CommonParams()
        params.model.path = self.settings.parameters.uri
        params.n_ctx = CONTEXT
        params.n_parallel = 1
        params.warmup = False
        params.port = 0
        params.cpuparams.n_threads = 1
        params.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE  # read, not mapped
        self._server = xllamacpp.Server(params)
        return True

    async def unload(self) -> bool:
        del self._server
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (prompt,) = StringCodec.decode_input(payload.inputs[0])
        answer = self._server.handle_completions({"prompt": prompt, "max_tokens": 4})
        words = StringCodec.encode_output("text", [answer["choices"][0]["text"]])
        return InferenceResponse(model_name=self.name, outputs=[words])
