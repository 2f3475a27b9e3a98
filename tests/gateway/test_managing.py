"""Which paths of engines change what they have, or end what they do for others."""

import asyncio
from contextlib import suppress
from urllib.parse import quote

import pytest

from supervisor.core.snapshot import Ability, ModelId
from supervisor.engines import ENGINES, wire
from supervisor.engines.base import EngineError
from supervisor.engines.serves import Api
from supervisor.gateway.managing import manages
from supervisor.gateway.surfaces import Does
from tests.engines.contract import KINDS, engine
from tests.engines.fakes import FAKES
from tests.gateway.asking import at


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("HEAD", "/api/blobs/sha256:ab"),
        ("POST", "/api/blobs/sha256:ab"),
        ("POST", "/engines/ollama/api/pull"),
        ("DELETE", "/engines/ollama/api/delete"),
        ("POST", "/engines/ollama/api/%64elete"),
        ("POST", "/engines/ollama/API/Delete"),
        ("POST", "/engines/ollama//api/../api/create"),
        ("POST", "/engines/router/models/unload"),
        ("POST", "/engines/vllm/v1/load_lora_adapter"),
        ("POST", "/engines/vllm/sleep"),
        ("POST", "/engines/vllm/wake_up"),
        ("POST", "/engines/llama/slots/0"),
        ("GET", "/engines/swap/unload"),
        ("GET", "/engines/swap/upstream/qwen/health"),
        ("POST", "/engines/tabby/v1/model/load"),
        ("POST", "/engines/sg/release_memory_occupation"),
        ("POST", "/engines/forge/sdapi/v1/unload-checkpoint"),
        ("PUT", "/engines/any/thing"),
        ("POST", "/engines/xi/v1/models"),
        ("POST", "/engines/xi/v1/models/"),
        ("POST", "/engines/xi/v1/%6dodels"),
        ("POST", "/engines/xi/v1/model_registrations/LLM"),
        ("POST", "/engines/ts/models"),
        ("POST", "/engines/ts/workflows"),
        ("POST", "/engines/la/models/apply"),
        ("POST", "/engines/la/models/edit/qwen"),
        ("POST", "/engines/lm/api/v1/models/download"),
        ("POST", "/engines/tabby/v1/download"),
        ("POST", "/engines/tabby/v1/template/switch"),
        ("POST", "/engines/mlx/v1/cache/clear"),
        ("POST", "/engines/speaches/v1/models/Systran%2Ffaster-whisper-small"),
        ("POST", "/engines/jan/v1/models/start"),
        ("POST", "/engines/gs/v2/api-keys"),
        ("POST", "/engines/tri/v2/models/m/../../repository/models/m/load"),
        ("POST", "/engines/tri/v2/models/m%2f..%2f..%2frepository%2fmodels%2fm%2fload/infer"),
        # They end what others wait for.
        ("POST", "/engines/comfy/interrupt"),
        ("POST", "/engines/comfy/api/queue"),
        ("POST", "/engines/comfy/history/"),
        ("POST", "/engines/forge/sdapi/v1/skip"),
        ("POST", "/engines/sg/abort_request"),
        ("POST", "/engines/textgen/v1/internal/stop-generation"),
        ("POST", "/engines/swap/api/inflight/7/cancel"),
        # An engine takes a GET for these as well.
        ("GET", "/engines/sg/flush_cache"),
        ("GET", "/engines/sg/release_memory_occupation"),
        ("GET", "/engines/sg/start_profile"),
        ("HEAD", "/engines/comfy/manager/reboot"),
        ("GET", "/engines/comfy/extensions/%2e%2e/manager/reboot"),
        ("DELETE", "/engines/comfy/api/userdata/workflows%2Fone.json"),
    ],
)
def test_what_changes_an_engine_is_known_however_it_is_written(method, path):
    assert at(path, method.encode()).does is Does.MANAGE


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/engines/comfy/prompt"),
        ("POST", "/engines/comfy/upload/image"),
        ("GET", "/engines/comfy/ws"),
        ("GET", "/engines/llama/slots"),
        ("GET", "/engines/llama/props"),
        ("POST", "/engines/llama/tokenize"),
        ("POST", "/engines/llama/apply-template"),
        ("POST", "/engines/ts/predictions/qwen-image-edit"),
        ("POST", "/engines/ts/predictions/train-cache/2.0"),
        ("POST", "/engines/comfy/api/userdata/workflows%2Fimage-edit.json"),
        ("GET", "/engines/comfy/api/userdata/workflows%2Fstart-end.json"),
        ("GET", "/engines/comfy/extensions/ComfyUI-Manager/js/comfyui-manager.js"),
        ("POST", "/engines/forge/sdapi/v1/txt2img"),
        ("POST", "/engines/lemonade/api/v1/classify"),
        ("GET", "/engines/vllm/metrics"),
        ("GET", "/engines/xi/v1/models"),
        ("GET", "/engines/comfy/queue"),
        ("GET", "/engines/comfy/history/7"),
        ("GET", "/engines/mlx/v1/cache"),
        ("POST", "/engines/forge/queue/join"),
        ("POST", "/engines/tri/v2/repository/index"),
        ("POST", "/engines/tri/v2/models/qwen-image-edit/infer"),
        ("POST", "/engines/tri/v2/models/switch-base-8/versions/2/generate_stream"),
        ("POST", "/engines/tf/v1/models/free-cache:predict"),
        ("POST", "/engines/kobold/api/extra/generate/stream"),
        ("POST", "/engines/one/v1/responses/resp_1/cancel"),
    ],
)
def test_what_only_uses_an_engine_passes(method, path):
    found = at(path, method.encode())
    assert (found.does, found.api) == (Does.PASS, Api.NATIVE)
    assert found.path == b"/" + path.split("/", 3)[3].encode()
    assert found.engine == path.split("/")[2]


def test_an_engines_own_tables_name_no_path_that_would_manage_it():
    for kind in ENGINES.values():
        for path in kind.paths.values():
            assert not manages(b"POST", path.encode()), path


# Triton's list of models; and Docker Model Runner's way to load one by a request for it.
CHANGES_NOTHING = ("POST /v2/repository/index", "POST /engines/v1/chat/completions")


async def calls(kind):
    """All that an adapter asks of its engine while it does to it whatever it can."""
    async with FAKES[kind](("a", "b")) as server, wire.client() as client:
        made = engine(kind, client, server.url)
        a = ModelId(server.models[0])
        kept = Ability.LOAD not in made.abilities or server.starts_loaded
        if kept:
            server.take(a)
        await made.identify()
        for order in (made.load, made.cancel, made.sleep, made.wake, made.unload):
            await made.list()
            server.busy[a] = int(order == made.cancel)
            with suppress(EngineError):
                await order(a)
            server.busy.clear()
        server.take(a)
        for again in (made.list(), made.sleep(a, deep=True), made.wake(a), made.restart()):
            with suppress(EngineError):
                await again
        return tuple(dict.fromkeys(call for call, _ in server.requests))


@pytest.mark.parametrize("kind", [k for k in KINDS if not ENGINES[k].described])
def test_every_call_by_which_an_adapter_changes_an_engine_is_managing(kind):
    """An engine that only lists changes nothing; one that is loaded by a request for a model is
    asked in a way of which the gateway reads the model."""
    asked, changes = asyncio.run(calls(kind)), 0
    for call in asked:
        method, _, path = call.partition(" ")
        if (method == "GET" and not path.startswith("/upstream")) or call in CHANGES_NOTHING:
            continue
        found = at(f"/engines/x{quote(path)}", method.encode())
        assert found.does in (Does.MANAGE, Does.INFER, Does.SHOW), call
        changes += found.does is not Does.SHOW
    can = ENGINES[kind].abilities & {Ability.LOAD, Ability.UNLOAD, Ability.SLEEP, Ability.CANCEL}
    assert bool(changes) == bool(can), asked
