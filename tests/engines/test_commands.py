"""What the words of a command say of how a model is loaded."""

import pytest

from supervisor.core.header import UNTOLD, Setup
from supervisor.engines.commands import llamacpp, setup

SERVER = "/opt/llama-server"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ((), Setup()),
        (("-m", "/m/a.gguf", "-c", "4096", "-np", "2"), Setup("/m/a.gguf", 4096, 2)),
        (("--model", "/m/a.gguf", "--ctx-size", "512"), Setup("/m/a.gguf", 512)),
        (("-hf", "org/model:Q4_K_M"), Setup("org/model:Q4_K_M")),
        (("-ctk", "q8_0", "--cache-type-v", "q4_0"), Setup(keys="q8_0", values="q4_0")),
        (("-ngl", "99", "-ub", "256"), Setup(batch=256, offloaded=99)),
        (("-ngl", "0"), Setup(offloaded=0)),
        (("-ngl", "99", "--device", "none"), Setup(offloaded=0)),
        (("-ngl", "auto"), Setup()),
        (("-fa", "off"), Setup(flash=False)),
        (("--flash-attn", "on"), Setup()),
        (("-c", "0", "-np", "-1"), Setup()),  # as the model has it, and as it likes
        (("-c", "many", "-np"), Setup()),
        (("-c", "99999999999999"), Setup()),
        (("-c", "512", "--ctx-size", "1024"), Setup(context=1024)),  # the last word counts
    ],
)
def test_a_llama_servers_words_are_understood(words, found):
    assert llamacpp((SERVER, *words)) == found


def test_words_come_before_the_environment():
    told = {"LLAMA_ARG_CTX_SIZE": "512", "LLAMA_ARG_N_PARALLEL": "3", "PATH": "/bin"}
    assert llamacpp((SERVER, "-c", "1024"), told) == Setup(context=1024, slots=3)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("vllm", "serve", "org/m"), Setup("org/m", fraction=0.9)),
        (
            ("vllm", "serve", "org/m", "--max-model-len", "8192", "--gpu-memory-utilization=0.5"),
            Setup("org/m", 8192, fraction=0.5),
        ),
        (
            ("python", "-m", "vllm.entrypoints.openai.api_server", "--model", "/m", "-tp", "2"),
            Setup("/m", fraction=0.9, devices=2),
        ),
        (
            ("vllm", "serve", "m", "-tp", "2", "--pipeline-parallel-size=2", "-dp", "3"),
            Setup("m", fraction=0.9, devices=12),
        ),
        (("vllm", "serve", "m", "-pp", "2"), Setup("m", fraction=0.9, devices=2)),
        (("vllm", "serve", "--gpu-memory-utilization", "7"), Setup(fraction=0.9)),
        (
            ("vllm", "serve", "m", "--kv-cache-dtype", "fp8_e5m2"),
            Setup("m", keys="fp8", values="fp8", fraction=0.9),
        ),
    ],
)
def test_vllms_words_are_understood(words, found):
    assert setup("vllm", words) == found


def test_sglang_has_names_of_its_own_and_other_engines_tell_nothing():
    words = ("python", "-m", "sglang.launch_server", "--model-path", "/m", "--context-length", "99")
    assert setup("sglang", words) == Setup("/m", 99, fraction=0.88)
    spread = (*words, "--tp", "4", "--dp-size", "2")
    assert setup("sglang", spread) == Setup("/m", 99, fraction=0.88, devices=8)
    shared = (*spread, "--enable-dp-attention")
    assert setup("sglang", shared) == Setup("/m", 99, fraction=0.88, devices=4)
    assert setup("llamacpp", (SERVER, "-m", "/m/a.gguf")) == Setup("/m/a.gguf")
    assert setup("tei", ("-m", "x")) == setup(None, ("-m", "x")) == UNTOLD
