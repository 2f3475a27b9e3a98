"""Headers of models in files and folders, read beside the loop."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from collectors.reading import mib
from supervisor.core.header import Header, Layers
from supervisor.headers import AGAIN, Headers, read_header, safetensors
from supervisor.headers.gguf import Unreadable
from supervisor.headers.places import find, pieces
from tests.gguf_files import EXPECTED, LLAMA, SOUND, TENSORS, Writer

# -- safetensors


def tensors(header: Mapping[str, Any] | bytes, data: int = 100) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"\0" * data


def one(begin: Any, end: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F16", "shape": [1], "data_offsets": [begin, end]}}


CONFIG = {
    "num_hidden_layers": 24,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
}


def size_of(data: bytes) -> int:
    return safetensors.weights(io.BytesIO(data), len(data))


def test_the_tensors_of_a_file_have_a_size() -> None:
    more = {"__metadata__": {"format": "pt"}, "v": one(60, 100)["w"]}
    assert size_of(tensors(one(0, 60) | more)) == 100


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        tensors(b"[]"),
        tensors(b"{"),
        tensors(b"[" * 50_000),
        tensors(one(0, 101)),
        tensors(one(5, 2)),
        tensors(one(-5, 2)),
        tensors(one(0, 1e300)),
        tensors(one(0, "x")),
        tensors({"w": 3}),
        tensors({"w": {"data_offsets": [1]}}),
    ],
)
def test_safetensors_that_are_not_sound_are_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        size_of(data)


def test_a_header_too_long_to_read_still_says_where_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(safetensors, "MOST", 10)
    assert size_of(tensors(one(0, 60))) == 100


def test_a_configuration_says_what_is_cached() -> None:
    found = safetensors.header(CONFIG, mib(100))
    assert found == Header(mib(100), layers=(Layers(24, 128, 128),), context=32768, width=896,
                           inner=4864, heads=14)  # fmt: skip
    assert safetensors.header({"text_config": CONFIG, "vision_config": {}}, mib(100)) == found
    wide = safetensors.header(CONFIG | {"head_dim": 128}, mib(100))
    assert wide.layers == (Layers(24, 256, 256),)


def test_windows_and_latent_caches_are_understood() -> None:
    types = ["sliding_attention"] * 18 + ["full_attention"] * 6
    found = safetensors.header(CONFIG | {"layer_types": types, "sliding_window": 1024}, mib(1))
    assert found.layers == (Layers(18, 128, 128, 1024), Layers(6, 128, 128))
    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64}
    assert safetensors.header(CONFIG | latent, mib(1)).layers == (Layers(24, 576, 0),)


@pytest.mark.parametrize("config", [{}, {"num_hidden_layers": "x", "layer_types": 3}, {"a": []}])
def test_a_configuration_that_says_nothing_leaves_the_weights(config: dict[str, Any]) -> None:
    assert safetensors.header(config, mib(7)) == Header(mib(7))


def test_a_configuration_of_too_many_layers_is_refused() -> None:
    with pytest.raises(Unreadable, match="layers"):
        safetensors.header({"num_hidden_layers": 10**9}, mib(7))


# -- files and folders


def test_pieces_belong_together(tmp_path: Path) -> None:
    names = [f"big-0000{i}-of-00002.gguf" for i in (1, 2)]
    first = {"token_embd.weight": 3200, "blk.0.attn_q.weight": 3200}
    (tmp_path / names[0]).write_bytes(Writer().file(LLAMA, first))
    second = {"output.weight": 640, "blk.1.attn_q.weight": 3200}
    (tmp_path / names[1]).write_bytes(Writer().file({"split.no": 1}, second))
    files = pieces(tmp_path / names[0])
    assert [f.name for f in files] == names
    assert read_header(files) == EXPECTED
    assert pieces(tmp_path / names[1]) == (tmp_path / names[1],)
    with pytest.raises(Unreadable, match="99999 pieces"):
        pieces(Path("/m/x-00001-of-99999.gguf"))


def folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(CONFIG))
    (path / "model-00001-of-00002.safetensors").write_bytes(tensors(one(0, 60), 60))
    (path / "model-00002-of-00002.safetensors").write_bytes(tensors(one(0, 40), 40))
    return path


def index(path: Path, *files: str) -> None:
    names = {f"w{i}": file for i, file in enumerate(files)}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def test_a_folder_is_its_weights_and_its_configuration(tmp_path: Path) -> None:
    path = folder(tmp_path / "model")
    whole = read_header(pieces(path))
    assert (whole.weights, whole.depth) == (100, 24)
    index(path, "model-00002-of-00002.safetensors")
    assert read_header(pieces(path)).weights == 40


def test_a_projector_is_not_taken_for_the_model_beside_it(tmp_path: Path) -> None:
    (tmp_path / "mmproj-f16.gguf").write_bytes(b"")
    (tmp_path / "model.gguf").write_bytes(SOUND)
    assert read_header(pieces(tmp_path)) == EXPECTED


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "", ".."])
def test_an_index_does_not_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    path = folder(tmp_path / "model")
    index(path, name)
    with pytest.raises(Unreadable, match="strange"):
        pieces(path)


def test_a_name_is_looked_for_in_the_cache_of_hugging_face(tmp_path: Path) -> None:
    cached = tmp_path / "hub" / "models--org--model"
    snapshot = folder(cached / "snapshots" / "abc123")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("abc123\n")
    (snapshot / "m-Q8_0.gguf").write_bytes(SOUND)
    for environment in ({"HF_HOME": str(tmp_path)}, {"HF_HUB_CACHE": str(tmp_path / "hub")}):
        assert find("org/model", environment) == snapshot
        assert find("org/model:q8_0", environment) == snapshot / "m-Q8_0.gguf"
        (snapshot / "M-mmproj-Q8_0.gguf").write_bytes(b"")  # before the model, by name
        (snapshot / "M-mmproj-Q4_K_M.gguf").write_bytes(b"")
        assert find("org/model:q8_0", environment) == snapshot / "m-Q8_0.gguf"
        assert find("org/model:Q4_K_M", environment) is None
        assert find("org/other", environment) is None
        assert find("../../etc", environment) is None
        assert find("model", environment) is None
    (cached / "refs" / "main").write_text("../../../..")
    assert find("org/model", {"HF_HOME": str(tmp_path)}) is None


# -- beside the loop


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def play(story: Callable[[Headers, Clock], Any]) -> None:
    async def scene() -> None:
        clock = Clock()
        headers = Headers(clock)
        try:
            await story(headers, clock)
        finally:
            await headers.close()

    asyncio.run(asyncio.wait_for(scene(), 60))


def test_a_header_is_read_once_and_again_when_its_file_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(SOUND)
    opened: list[object] = []

    async def story(headers: Headers, clock: Clock) -> None:
        headers.want([str(file)])
        assert headers.get(str(file)) is None  # nobody waits for it
        await headers.settled()
        assert headers.get(str(file)) == EXPECTED
        first = headers._known[str(file)]
        clock.now += AGAIN
        headers.want([str(file)])
        await headers.settled()
        assert headers._known[str(file)] is first
        file.write_bytes(Writer().file(LLAMA | {"llama.block_count": 8}, TENSORS))
        headers.want([str(file)])
        await headers.settled()
        assert headers.get(str(file)) == EXPECTED  # it is not looked at that often
        clock.now += AGAIN
        headers.want([str(file)])
        await headers.settled()
        found = headers.get(str(file))
        opened.append(found)
        assert found is not None
        assert found.depth == 8

    play(story)
    assert opened


def test_what_is_no_file_or_not_there_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pipe = tmp_path / "pipe.gguf"
    os.mkfifo(pipe)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(SOUND[:30])
    names = [str(pipe), str(broken), str(tmp_path), "/nowhere/m.gguf", "odd", "\0"]

    async def story(headers: Headers, clock: Clock) -> None:
        headers.want(names)
        await headers.settled()
        assert [headers.get(name) for name in names] == [None] * len(names)

    with caplog.at_level(logging.INFO, "ullage.headers"):
        play(story)
    told = " ".join(caplog.messages)
    assert "pipe.gguf is no file" in told
    assert "broken.gguf: nothing can be read of its size" in told


def test_a_disk_that_hangs_keeps_what_was_known(tmp_path: Path) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(SOUND)

    async def story(headers: Headers, clock: Clock) -> None:
        headers.want([str(file)])
        await headers.settled()

        async def hangs(*_: object) -> Any:
            raise TimeoutError

        headers.aside.call = hangs  # type: ignore[method-assign]
        clock.now += AGAIN
        headers.want([str(file)])
        await headers.settled()
        assert headers.get(str(file)) == EXPECTED

    play(story)


def test_so_many_are_remembered_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor.headers.KEPT", 3)
    for n in range(5):
        (tmp_path / f"{n}.gguf").write_bytes(SOUND)
    names = [str(tmp_path / f"{n}.gguf") for n in range(5)]

    async def story(headers: Headers, clock: Clock) -> None:
        for name in names:
            headers.want([name])
            await headers.settled()
        assert [headers.get(n) is not None for n in names] == [False, False, True, True, True]
        assert len(headers._known) == len(headers._looked_at) == 3

    play(story)
