"""Texts that somebody has made so that to read them takes for ever, or raises what nobody expects.
Each is read in no time; before it was so, some took minutes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.cgroup import parse_membership
from collectors.process import ALL_WORDS, MOST_WORDS, WORDS, command_of, list_commands
from collectors.reading import gib
from supervisor.children import kin
from supervisor.children.logs import Log
from supervisor.config.given import path_of
from supervisor.core.retry import LOOKED, Shortage, shortage
from supervisor.core.snapshot import EngineId, State
from supervisor.engines import ENGINES
from supervisor.engines.answer import LONGEST as LONGEST_NAME
from supervisor.engines.answer import MOST as ENTRIES
from supervisor.engines.answer import EngineConfused, Json
from supervisor.engines.commands import _number
from supervisor.engines.gauges import MOST, Gauges
from supervisor.engines.slots import Children
from supervisor.engines.xinference import VERSION
from supervisor.fleet.words import read_word
from supervisor.gateway.asked import BadRequest
from supervisor.gateway.bodies import Chunked, Unchunked
from supervisor.gateway.multipart import FEW
from supervisor.gateway.sessions import Sessions
from supervisor.gateway.tokens import Caller
from supervisor.headers.gguf import LARGEST, Unreadable, told
from supervisor.headers.places import pieces
from supervisor.headers.safetensors import header
from supervisor.journal.audit import LOOKED as OF_A_TEXT
from supervisor.journal.journal import Journal
from supervisor.likeness import closest
from supervisor.telemetry.redact import HIDDEN, Redact
from tests.gateway.asking import head
from tests.gateway.desk import desk, get
from tests.gateway.test_exchange import HELLO
from tests.gateway.test_multipart import HEARD, asked
from tests.gateway.wires import whole
from tests.scenarios.gate import story

SECRET = "sk-live-4f9a8b7c6d5e"


@pytest.mark.parametrize("end", ["", f" --api-key {SECRET}", f" bearer {SECRET}"])
@pytest.mark.parametrize(
    "text", ["-" * 200_000, "-a" * 100_000, "--a" * 60_000, "&a" * 100_000, "A_" * 100_000]
)
def test_a_text_of_dashes_is_looked_through_for_secrets(text: str, end: str) -> None:
    found = Redact([SECRET + "x"])(text + end)
    assert SECRET not in found
    assert found.endswith(HIDDEN if end else text[-1])


@story
async def test_a_request_that_is_refused_is_noted_however_long_its_path_is() -> None:
    async with desk() as at:
        for line in ("Host: evil.test", "Origin: https://evil.test"):
            guest = at.guest()
            guest.says(get(f"/@{'-' * 60_000}", line).replace(b"Host: 127.0.0.1\r\n", b"", 1)
                       if line.startswith("Host") else get(f"/@{'-' * 60_000}", line))  # fmt: skip
            assert guest.answer()[0] in (403, 421)
        assert len(at.gate.loop.journal.audit.find(9)) == 2


def test_what_is_said_in_a_refusal_is_cut_before_it_is_looked_through() -> None:
    audit = Journal(None).audit
    audit.note("nobody", "x" * OF_A_TEXT * 20, wish="y" * OF_A_TEXT * 20)
    (row,) = audit.find(1)
    assert len(row["what"]) == len(row["wish"]) < 600
    for _ in range(3):
        audit.sum_up("ci", "alerts", 60.0, 200, wish="z" * 100_000)
    assert audit.find(1)[0]["times"] == 3
    assert all(len(str(part)) < 300 for key in audit._sums for part in key)


@pytest.mark.parametrize("much", [10**400, LARGEST])
def test_a_number_of_a_header_that_cannot_be_is_none(much: int) -> None:
    said = {"architecture": "llama", "block_count": 2, "embedding_length": 8,
            "attention.head_count": 2, "attention.key_length": much,
            "attention.head_count_kv": [much, 2]}  # fmt: skip
    found = told(said, gib(1))
    assert all(layer.keys < LARGEST for layer in found.layers)
    config = {"num_hidden_layers": 2, "hidden_size": much, "num_attention_heads": 2}
    assert all(layer.keys < LARGEST for layer in header(config, gib(1)).layers)


def test_an_index_that_names_no_texts_is_refused(tmp_path: Any) -> None:
    text = json.dumps({"weight_map": {"a": ["model.safetensors"]}})
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(Unreadable, match="strange"):
        pieces(tmp_path)


def test_a_file_that_is_full_of_what_looks_like_its_boundary_is_passed_over() -> None:
    start = b'--a\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n'
    model = b'\r\n--a\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--a--\r\n'
    kind = "multipart/form-data; boundary=a"
    for many in (FEW - 1, FEW, FEW + 1, 1_000_000):
        body = start + b"\r\n--ab" * many + model
        assert asked(kind, body, HEARD).model == "m"
        with pytest.raises(BadRequest, match="goes on"):
            asked(kind, start + b"\r\n--ab" * many + b"\r\n--a b" + model, HEARD)
        with pytest.raises(BadRequest, match="ends before"):
            asked(kind, start + b"\r\n--ab" * many, HEARD)


def test_what_engines_say_of_themselves_is_read_in_no_time() -> None:
    assert VERSION.search("xinference:build_info{,\n" * 100_000) is None
    assert VERSION.search("xinference:build_info{" + "a," * 100_000) is None
    line = 'xinference:build_info{commit="x",version="1.2.3"} 1.0'
    found = VERSION.search(f"# HELP\n{line}\n")
    assert found is not None
    assert found[1] == "1.2.3"


@pytest.mark.parametrize("word", ["cudamalloc", "hipmalloc", "cuda", "to allocate cuda"])
def test_a_line_of_a_log_is_looked_at_for_want_of_memory(word: str) -> None:
    assert shortage(word * 50_000) in (None, Shortage.DEVICE)
    assert shortage("ggml_cuda_host_malloc: cudaMallocAsync failed") is Shortage.DEVICE
    assert shortage("x" * LOOKED + "out of memory") is None


def test_metrics_of_very_many_lines_are_refused() -> None:
    def total(many: int) -> float | None:
        text = "".join(f'a_total{{n="{i}"}} 1\n' for i in range(many))
        return Gauges("e", "GET /metrics", text).total("a_total")

    assert total(MOST) == MOST
    with pytest.raises(EngineConfused, match="more than 1000 lines"):
        total(MOST + 1)


@pytest.mark.parametrize("much", [10**400, 2**63])
def test_a_number_of_another_host_that_cannot_be_is_refused(much: int) -> None:
    word = {"host": "a", "epoch": "e", "number": much, "version": "1", "wall": 1.0}
    with pytest.raises(ValueError, match=r"number is .* it has to be a whole number"):
        read_word(word)


@pytest.mark.parametrize("port", ["1" * 5000, "99999", "0"])
def test_a_process_of_anybody_does_not_end_the_look_for_children(port: str) -> None:
    commands = {1: ("llama-server", "--model", "/x", "--port", port)}
    children = Children("e", lambda: commands)
    assert asyncio.run(children.look({"/x"})) is False
    assert _number("1" * 5000) is None


def test_a_client_that_calls_itself_by_a_whole_text_is_kept_by_a_digest() -> None:
    sessions = Sessions()
    names = {
        sessions.who(head(), text, Caller())
        for text in ("a" * 60_000, "a" * 60_001, "\N{FIRE}" * 10_000, "short")
    }
    assert len(names) == 4
    assert sessions.who(head(), "a" * 60_000, Caller()) in names
    assert all(len(said) <= 100 for _, said in sessions._names)
    assert Counter(map(len, names))[5] == 1


@pytest.mark.parametrize("kind", [Chunked, Unchunked])
def test_what_follows_a_body_and_speaks_another_protocol_is_not_raised(kind: Any) -> None:
    body, after = b"5\r\nhello\r\n0\r\n\r\n", b"HTTP/1.1 101 x\r\nUpgrade: y\r\n\r\n"
    passage = kind()
    if kind is Chunked:
        passage.begin()
    assert passage.feed(body + after) in (body, b"hello")
    assert passage.over
    assert passage.more


@story
async def test_early_answers_are_passed_over_and_not_without_end() -> None:
    for many, status in ((90, 200), (5000, 502)):
        async with desk() as at:
            await at.town.has("a")
            line, _ = at.engine()
            guest = at.asks(model="a", **HELLO)
            line.data_received(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * many + whole())
            assert guest.answer()[0] == status


@story
async def test_a_model_of_whom_nothing_can_be_worked_out_stops_nobody_else() -> None:
    """A demand that raises costs its own client the answer, and no line is left for it."""
    async with desk() as at:
        loads = at.gate.admission.loads
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(loads), "demand", lambda *_: 1 / 0)
            status, _, body = at.asks(model="a", **HELLO).answer()
        assert (status, body["error"]["code"]) == (500, "internal_error")
        assert not at.gate.admission.holds.count
        _, wire = at.engine()
        guest = at.asks(model="b", **HELLO)
        await at.town.until(lambda: wire.sent)
        assert at.town.loads == ["b"]
        await guest.hangs_up()


# -- of other accounts of this machine, and of engines


def test_a_command_line_of_any_length_is_read_as_far_as_anybody_needs(tmp_path: Path) -> None:
    lines = {1: b"a\0" * 3_000_000, 2: b"x" * 8_000_000, 3: b"llama-server\0-m\0/m\0"}
    lines |= dict.fromkeys(range(10, 10 + 2 * ALL_WORDS // WORDS), b"y" * WORDS)
    for pid, data in lines.items():
        (tmp_path / f"proc/{pid}").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/cmdline").write_bytes(data)
    found = list_commands(tmp_path)
    assert found[3] == ("llama-server", "-m", "/m")
    assert len(command_of(1, tmp_path)) == MOST_WORDS
    assert len(found) == len(lines)
    assert sum(len(word) for argv in found.values() for word in argv) < 2 * ALL_WORDS


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("before", [0, 3_000])
def test_the_mark_of_a_process_is_found_among_many_variables(before: int) -> None:
    many = {f"V{i}": "x" * 400 for i in range(before)}
    command = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()"]
    child = subprocess.Popen(command, env={**many, kin.MARK: "m.1"}, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert kin.mark_of(child.pid) == "m.1"
        assert kin.mark_of(os.getpid()) is None
    finally:
        child.kill()
        child.wait()


def test_a_group_that_is_called_like_a_second_line_is_one() -> None:
    """Any sign but a newline may be in its name."""
    for sign in ("\x1c", "\x85", "\u2028"):
        text = f"0::/user.slice/u{sign}0::/system.slice/ollama.service\n"
        assert parse_membership(text) == [(True, text[3:-1])]


@pytest.mark.parametrize("long", ["n" * (LONGEST_NAME + 1), "\u4e00" * 10**6])
def test_a_name_that_is_very_long_is_none(long: str) -> None:
    with pytest.raises(EngineConfused, match="a name of at most 512 characters"):
        Json("e", "GET /x", long).name()
    assert Json("e", "GET /x", "n" * LONGEST_NAME).name()


def test_a_list_that_is_very_long_is_not_gone_through_each_second() -> None:
    assert len(tuple(Json("e", "GET /x", [0] * ENTRIES))) == ENTRIES
    with pytest.raises(EngineConfused, match="a list of at most 5,000"):
        tuple(Json("e", "GET /x", [0] * (ENTRIES + 1)))


def test_a_docker_model_runner_with_very_many_models_and_runners_is_listed() -> None:
    many = 4000
    installed = [{"id": f"sha256:{i:064x}", "tags": [f"docker.io/ai/m{i}"]} for i in range(many)]
    runner = {"backend_name": "llama.cpp", "last_used": "", "in_use": False}
    runners = [runner | {"model_name": f"ai/m{i}"} for i in range(many)]
    replies = {"/models": installed, "/engines/ps": runners}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=replies[request.url.path])

    client = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    engine = ENGINES["dmr"](EngineId("dmr"), "http://127.0.0.1:12434", client, None, None)
    models = asyncio.run(engine.list())
    assert len(models) == many
    assert all(model.state is State.LOADED for model in models)


def test_a_key_of_any_length_is_split_in_no_time() -> None:
    assert len(path_of('"a"' + ".a" * 30_000)) == 30_001
    assert path_of('models."a.b".priority') == ("models", "a.b", "priority")


def test_the_last_words_of_a_child_that_wrote_very_much_are_found(tmp_path: Path) -> None:
    log = Log(tmp_path / "m.log")
    with (tmp_path / "m.log").open("wb") as file:
        file.write(b"\x01" * 3_000_000 + b"\nout of memory\n" + b"\x1b[0m\n" * 100)
    assert log.last_words() == "out of memory"


def test_of_very_many_names_the_one_that_was_meant_is_found_all_the_same() -> None:
    names = [f"model-{i}:latest" for i in range(5000)] + ["qwen3:8b"]
    for _ in range(20):
        assert closest("qwen3:8", names, 3, 0.4)[0] == "qwen3:8b"
    assert closest("qwen3:8", names[-50:], 3, 0.4)[0] == "qwen3:8b"
