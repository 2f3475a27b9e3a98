"""`ullage engines`: a table of engines, with what they hold."""

from __future__ import annotations

import json

import pytest

from collectors.reading import gib
from supervisor.cli import show_engines
from supervisor.cli.bars import Screen
from tests.canned import BUSY, engine, model, running, state, ullage

PAGE = """\
ENGINE    KIND      VERSION  STATE  LOADED     HOLDS
llamacpp  llamacpp  b6123    up          1  18.2 GiB
ollama    ollama    0.9.1    up     3 of 3    39 GiB
vllm      vllm      -        down        1   256 MiB

llamacpp  http://127.0.0.1:8080  can list
ollama    http://127.0.0.1:11434  can list
vllm      http://127.0.0.1:8000  can list
          connection refused
"""


def test_engines_are_listed_with_what_they_hold() -> None:
    assert show_engines.table(show_engines.rows(BUSY), Screen()) == PAGE


def test_bytes_are_told_by_pool_and_models_by_name() -> None:
    rows = {row["id"]: row for row in show_engines.rows(BUSY)}
    assert rows["ollama"]["loaded"] == ["gemma3:4b", "llama3.3:70b", "qwen3:8b"]
    assert rows["ollama"]["installed"] == 3
    assert rows["ollama"]["held"]["ram"] == gib(22.25)
    assert sum(rows["ollama"]["held"].values()) == gib(39)


def test_an_engine_that_is_degraded_is_not_called_down() -> None:
    tired = {**engine("a", 1, fault="its list is cut off"), "degraded": True}
    page = show_engines.table(show_engines.rows(state(engines=[tired])), Screen())
    assert "degraded" in page
    assert "its list is cut off" in page


def test_names_from_strangers_do_not_command_the_terminal() -> None:
    odd = {**engine("a\x1b", 1), "kind": "b\x1b", "version": "c\x1b", "abilities": ["d"]}
    loud = state(engines=[odd], models=[model("a\x1b/x", ("ram", 1, "measured"))])
    page = show_engines.table(show_engines.rows(loud), Screen())
    assert "\x1b" not in page
    assert "a\\x1b" in page


def test_without_engines_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as daemon:
        monkeypatch.setenv("ULLAGE_URL", daemon.address)
        daemon.say("/api/v1/state", state())
        result = ullage("engines")
        assert (result.exit_code, "ullage run --engine NAME=URL" in result.stdout) == (0, True)
        assert json.loads(ullage("engines", "--json").stdout) == {"engines": []}
