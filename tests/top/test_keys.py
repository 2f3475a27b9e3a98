from __future__ import annotations

from typing import Any

import pytest
from textual.pilot import Pilot

from supervisor.cli.client import NoDaemon, Refused
from supervisor.top import words
from supervisor.top.panels import Panel, Pick, Question
from tests.top.fakes import (
    FITS,
    Dashboard,
    FakeClient,
    changed,
    dashboard,
)
from tests.top.playing import hears, play, press, settle, toasts

pytestmark = pytest.mark.slow


def test_a_pin_is_set_and_taken_back() -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "p")  # the largest is chosen, and pinned
        await press(pilot, "down", "p")
        assert top.client.wishes == [
            ("/unpin", {"model": "ollama/llama3.3:70b"}),
            ("/pin", {"model": "llamacpp/qwen2.5-coder-32b-instruct-q4_k_m"}),
        ]
        await settle(pilot)
        assert "is pinned" in toasts(top)
        await press(pilot, "p")  # before the daemon was asked again
        assert top.client.wishes[-1][0] == "/unpin"

    play(story)


def test_an_unload_asks_first_and_no_is_the_usual_answer() -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "u")
        assert isinstance(top.screen, Question)
        assert "Unload ollama/llama3.3:70b?" in top.text
        assert "It is pinned" in top.text
        for key in ("n", "escape", "q"):
            await press(pilot, key)
            assert not isinstance(top.screen, Question)
            assert top.is_running
            await press(pilot, "j", "u")
        await press(pilot, "enter")  # is no answer
        assert isinstance(top.screen, Question)
        assert top.client.wishes == []
        await press(pilot, "y")
        assert top.client.wishes == [("/evict", {"models": ["ollama/gemma3:4b"]})]

    play(story)


def test_sleep_wake_and_refusals_are_told() -> None:
    client = FakeClient()
    detail = "[red]vllm[/] cannot sleep"
    client.says["/sleep"] = Refused(409, {"detail": detail, "closest": ["ollama/[red]a[/]"]})

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "w", "s")
        await settle(pilot)
        assert [path for path, _ in client.wishes] == ["/wake", "/sleep"]
        told = toasts(top)
        assert "it went well" in told
        assert detail in told  # as it is: no markup
        assert "did you mean ollama/[red]a[/]?" in told
        await press(pilot, "escape")
        await settle(pilot)
        assert toasts(top) == ""

    play(story, dashboard(client))


def test_a_load_says_who_would_have_to_go() -> None:
    client = FakeClient()
    goes = {"action": "evict", "model": "ollama/gemma3:4b", "why": "makes room", "shares": []}
    plan = {**FITS, "actions": [goes], "sentences": ["gemma3 was chosen to go"]}

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "l")
        assert isinstance(top.screen, Pick)
        assert "ollama/nomic-embed-text:latest" in top.text
        assert "ollama/qwen3:32b" in top.text
        await press(pilot, *"32b")
        assert "nomic" not in top.text.partition("Load which model?")[2]
        client.says["/plan"] = plan
        await press(pilot, "enter")
        await settle(pilot)
        assert "Load ollama/qwen3:32b, and unload another one?" in top.text
        assert "gemma3 was chosen to go" in top.text
        await press(pilot, "n", "l", "down", "enter")
        await settle(pilot)
        await press(pilot, "y")
        assert client.wishes[-1] == ("/load", {"model": "ollama/qwen3:32b"})

    play(story, dashboard(client))


def test_a_load_that_fits_is_begun_and_one_that_does_not_is_explained() -> None:
    client = FakeClient()

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "l", "enter")
        await settle(pilot)
        assert client.wishes[-1] == ("/load", {"model": "ollama/nomic-embed-text:latest"})
        asked = len(client.wishes)
        client.says["/plan"] = {**FITS, "works": False, "sentences": ["still missing: 3 GiB"]}
        await press(pilot, "l", "enter")
        await settle(pilot)
        assert client.wishes[asked:] == [("/plan", {"load": "ollama/nomic-embed-text:latest"})]
        assert "still missing: 3 GiB" in toasts(top)

    play(story, dashboard(client))


@pytest.mark.parametrize(
    ("key", "title", "words"),
    [
        ("e", "Why is ollama/llama3.3:70b where it is?", "nobody needs its memory"),
        ("enter", "Why is ollama/llama3.3:70b where it is?", "it is loaded and idle"),
        ("d", "What was decided", "headroom is gone"),
        ("f", "What is wrong", "the driver did not answer within 1 s"),
        ("g", "Pools: where every byte is", "61 °C"),
        ("question_mark", "Keys", "unload it; asks first"),
    ],
)
def test_panels_open_over_the_dashboard_and_close(key: str, title: str, words: str) -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, key)
        await settle(pilot)
        assert isinstance(top.screen, Panel)
        assert title in top.text
        said = top.text
        await press(pilot, "end")
        assert words in said + top.text
        assert "another version" not in said
        await hears(top, pilot, changed(models=[]))  # news meanwhile go to the dashboard
        assert isinstance(top.screen, Panel)
        await press(pilot, "home", "j", "pagedown", "escape")
        assert not isinstance(top.screen, Panel)
        assert "no model is loaded" in top.text

    play(story)


def test_a_panel_is_scrolled_to_its_end_on_a_small_screen() -> None:
    client = FakeClient()
    client.says["/why"] = {"sentences": [f"sentence {i}" for i in range(60)]}

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "e")
        await settle(pilot)
        assert "sentence 0" in top.text
        assert "Esc closes" in top.text
        await press(pilot, "end")
        await settle(pilot)
        assert "sentence 59" in top.text
        assert "sentence 0\n" not in top.text

    play(story, dashboard(client), (60, 20))


def test_a_question_that_is_not_answered_is_told_in_its_panel() -> None:
    client = FakeClient()
    client.says["/why"] = NoDaemon("no daemon answers", "refused", "ullage run")

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "e")
        await settle(pilot)
        assert "no daemon answers" in top.text
        assert "try: ullage run" in top.text

    play(story, dashboard(client))


def test_q_and_ctrl_c_end_it() -> None:
    for key in ("q", "ctrl+c"):

        async def story(top: Dashboard, pilot: Pilot[None], key: str = key) -> None:
            await press(pilot, key)
            await settle(pilot)
            assert not top.is_running or top._exit
            assert top.return_code == 0

        play(story)


def test_keys_are_all_in_the_help() -> None:
    help_ = " ".join(keys for _, lines in words.HELP for keys, _ in lines).split()
    assert [key for key, _ in words.KEYS if key not in (*help_, "?")] == []
    bound: Any = {key for _, b in dashboard()._bindings for key in [b.key]}
    assert {key for key, _ in words.KEYS if key.isalpha()} <= bound
