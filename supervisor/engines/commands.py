"""How an engine that was started by a command would load its model: what its words say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from supervisor.core.header import UNTOLD, Setup

# By the part of a Setup: the options of llama.cpp's llama-server, and its environment variable.
LLAMACPP = {
    "path": ("-m", "--model", "-hf", "-hfr", "--hf-repo", "LLAMA_ARG_MODEL", "LLAMA_ARG_HF_REPO"),
    "context": ("-c", "--ctx-size", "LLAMA_ARG_CTX_SIZE"),
    "slots": ("-np", "--parallel", "LLAMA_ARG_N_PARALLEL"),
    "keys": ("-ctk", "--cache-type-k", "LLAMA_ARG_CACHE_TYPE_K"),
    "values": ("-ctv", "--cache-type-v", "LLAMA_ARG_CACHE_TYPE_V"),
    "batch": ("-ub", "--ubatch-size", "LLAMA_ARG_UBATCH"),
    "flash": ("-fa", "--flash-attn", "LLAMA_ARG_FLASH_ATTN"),
    "offloaded": ("-ngl", "--gpu-layers", "--n-gpu-layers", "LLAMA_ARG_N_GPU_LAYERS"),
    "device": ("-dev", "--device", "LLAMA_ARG_DEVICE"),
}
VLLM = {
    "path": ("--model",),
    "context": ("--max-model-len",),
    "keys": ("--kv-cache-dtype",),
    "fraction": ("--gpu-memory-utilization",),
    "devices": ("--tensor-parallel-size", "-tp"),
    "stages": ("--pipeline-parallel-size", "-pp"),
    "copies": ("--data-parallel-size", "-dp"),
}
SGLANG = {
    "path": ("--model-path", "--model"),
    "context": ("--context-length",),
    "keys": ("--kv-cache-dtype",),
    "fraction": ("--mem-fraction-static",),
    "devices": ("--tensor-parallel-size", "--tp-size", "--tp"),
    "stages": ("--pipeline-parallel-size", "--pp-size", "--pp"),
    "copies": ("--data-parallel-size", "--dp-size", "--dp"),
}
# What the engines take of an accelerator unless told otherwise: vLLM's documented default, and
# what SGLang has settled on for most devices (it works it out, and does not say how beforehand).
DIGITS = 12  # of a number; Python refuses to read one of thousands
FRACTIONS = {"vllm": 0.9, "sglang": 0.88}


def setup(
    kind: str | None, words: Sequence[str], environment: Mapping[str, str] | None = None
) -> Setup:
    """Of an engine of this kind that runs `words`. What is not said, or not known, is None."""
    if kind == "llamacpp":
        return llamacpp(words, environment or {})
    if kind in FRACTIONS:
        return _python(words, VLLM if kind == "vllm" else SGLANG, FRACTIONS[kind])
    return UNTOLD


def llamacpp(words: Sequence[str], environment: Mapping[str, str] | None = None) -> Setup:
    """Of a llama-server. Contexts of 0, and layers below 0, are its way to leave a thing open."""
    said = _said(words, LLAMACPP, environment or {})
    offloaded = _number(said.get("offloaded"))
    in_ram = said.get("device") == "none"
    return Setup(
        path=said.get("path"),
        context=_number(said.get("context")),
        slots=_number(said.get("slots")),
        keys=said.get("keys"),
        values=said.get("values"),
        batch=_number(said.get("batch")),
        flash=False if said.get("flash") in ("off", "0", "false", "disabled") else None,
        offloaded=0 if in_ram or said.get("offloaded") == "0" else offloaded,
    )


def _python(words: Sequence[str], names: Mapping[str, Sequence[str]], fraction: float) -> Setup:
    """Of vLLM or SGLang. They share one cache among all requests, and take all the room for it."""
    said = _said(words, names, {})
    path = said.get("path")
    if path is None and "serve" in words[:-1]:  # vllm serve MODEL
        word = words[words.index("serve") + 1]
        path = None if word.startswith("-") else word
    kind = said.get("keys")
    if "--enable-dp-attention" in words:  # SGLang's copies share the accelerators of one
        said.pop("copies", None)
    kind = "fp8" if kind is not None and kind.startswith("fp8") else None
    return Setup(
        path=path,
        context=_number(said.get("context")),
        keys=kind,
        values=kind,
        fraction=_fraction(said.get("fraction")) or fraction,
        devices=_devices(said),
    )


def _devices(said: Mapping[str, str]) -> int | None:
    """Each stage of a pipeline is cut into so many parts, and each copy has stages of its own."""
    found = [_number(said.get(part)) for part in ("devices", "stages", "copies")]
    return prod(n or 1 for n in found) if any(found) else None


def _said(
    words: Sequence[str], names: Mapping[str, Sequence[str]], environment: Mapping[str, str]
) -> dict[str, str]:
    """The last word counts, and words before the environment."""
    parts = {name: part for part, each in names.items() for name in each}
    found = {parts[name]: value for name, value in environment.items() if name in parts}
    for i, word in enumerate(words):
        name, is_one, value = word.partition("=")
        if name in parts and is_one:
            found[parts[name]] = value
        elif name in parts and i + 1 < len(words):
            found[parts[name]] = words[i + 1]
    return found


def _number(text: str | None) -> int | None:
    if text is None or not text.isdecimal() or len(text) > DIGITS:
        return None
    return int(text) if 0 < int(text) < 2**31 else None


def _fraction(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if 0 < found <= 1 else None
