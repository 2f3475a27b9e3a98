from __future__ import annotations

import pytest
from textual.pilot import Pilot
from textual.widgets._toast import Toast

from supervisor.cli.client import NoDaemon
from supervisor.top.live import Heard
from supervisor.top.look import Look
from supervisor.top.watch import Lost
from tests.canned import ONE, engine, installed, model, pool
from tests.top.fakes import (
    FULL,
    NOW,
    Dashboard,
    changed,
    dashboard,
)
from tests.top.playing import hears, play, press, settle, toasts

pytestmark = pytest.mark.slow

ESSENTIAL = (
    *("Ullage 0.1.0", "enforce", "measured 0s ago"),
    *("gpu0", "gpu1", "ram", "cannot be read"),
    *("MODEL", "STATE", "SIZE", "IDLE", "KEPT BY", "pinned", "busy 2", "unknown"),
    *("vllm DOWN", "3 waiting", "free memory is below the reserve", "p pin", "q quit"),
    *("llama3.3:70b", "gemma3:4b", "phi-4", "14m", "28.8 GiB", "unload ollama/gemma3:4b: done"),
)


@pytest.mark.parametrize("size", [(80, 24), (60, 20), (200, 60)])
def test_what_is_essential_is_on_a_screen_of_any_usual_size(size: tuple[int, int]) -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        text = top.text
        assert [w for w in ESSENTIAL if w not in text] == []
        lines = text.splitlines()
        assert len(lines) == size[1]
        assert lines[-1].startswith("p pin")
        assert max(map(len, lines)) <= size[0]

    play(story, size=size)


def test_a_terminal_that_changes_its_size_gets_another_layout() -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        assert "REQ" in top.text
        await pilot.resize_terminal(60, 20)
        await settle(pilot)
        assert "REQ" not in top.text
        assert top.text.splitlines()[-1].endswith("q quit")
        await pilot.resize_terminal(200, 60)
        await settle(pilot)
        both = next(line for line in top.text.splitlines() if "MODEL" in line)
        assert "what happened" in both  # side by side
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert "REQ" in top.text

    play(story)


def test_more_pools_than_there_is_room_for_leave_the_models_their_place() -> None:
    cards = [pool(f"GPU-{i:08d}", "H200", 140, 100 - i, reserve=1) for i in range(16)]
    state = changed(pools=cards, devices=[])

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        assert "+11 more pools with more headroom: g" in top.text
        assert "GPU-00000015" in top.text
        assert "llama3.3:70b" in top.text

    play(story, dashboard(state=state))


def test_the_cursor_stays_with_its_model_when_others_come_and_go() -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "down", "down")
        assert top.chosen is not None
        assert top.chosen["name"] == "ollama/qwen3:8b"
        large = model("vllm/large", (ONE, 90, "measured"))
        await hears(top, pilot, changed(models=[large, *FULL["models"]]))
        assert top.chosen["name"] == "ollama/qwen3:8b"
        assert "vllm/large is loaded, 90 GiB" in top.text
        await hears(top, pilot, changed(models=[large]))
        assert top.chosen["name"] == "vllm/large"
        await press(pilot, "up", "up", "k", "end", "home", "pageup", "pagedown")
        assert top.chosen["name"] == "vllm/large"

    play(story)


def test_a_filter_shows_some_and_is_taken_back() -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await press(pilot, "slash", *"gemma")
        assert "vllm/phi-4" not in top.text
        assert "ollama/gemma3:4b" in top.text
        await press(pilot, "enter")
        assert "/gemma" in top.text  # it is said that these are not all
        await press(pilot, "p")  # is a key again
        assert top.client.wishes == [("/pin", {"model": "ollama/gemma3:4b"})]
        await press(pilot, "escape")
        await settle(pilot)
        assert "vllm/phi-4" in top.text
        await press(pilot, "slash", *"nothing", "p", "escape")
        await settle(pilot)
        assert "vllm/phi-4" in top.text

    play(story)


def test_models_are_ordered_by_key_and_by_click() -> None:
    def first(top: Dashboard) -> str:
        lines = top.text.splitlines()
        at = next(i for i, line in enumerate(lines) if "MODEL" in line)
        return lines[at + 1]

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        assert "llama3.3" in first(top)
        await press(pilot, "O")
        assert "phi-4" in first(top)
        heading = next(line for line in top.text.splitlines() if "MODEL" in line)
        await pilot.click("#models", offset=(heading.index("MODEL"), 0))
        await settle(pilot)
        assert "llamacpp/qwen2" in first(top)
        await press(pilot, "o")
        assert "STATE▲" in top.text
        await pilot.click("#models", offset=(5, 3))
        await settle(pilot)
        assert top.chosen is not None
        assert top.chosen["model"] == "gemma3:4b"  # the third, after the two that are busy

    play(story)


def test_times_are_counted_on_until_the_daemon_is_silent() -> None:
    error = NoDaemon("no daemon answers at 127.0.0.1", "Connection refused", "ullage run")

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        top.at = NOW + 120
        top.redraw()
        await settle(pilot)
        assert "57m" in top.text  # gemma, that was idle for 55
        top.post_message(Heard(Lost(error, top.at)))
        await settle(pilot)
        top.at = NOW + 180
        top.redraw()
        await settle(pilot)
        assert "57m" in top.text
        assert "no daemon answers at 127.0.0.1, for 1m" in top.text
        assert "ullage run" in top.text
        new = changed(uptime=1.0, models=FULL["models"][:1])
        await hears(top, pilot, new)
        assert "for 1m" not in top.text
        assert "a new daemon answers" in top.text

    play(story)


def test_an_answer_that_lacks_what_is_shown_ends_nothing() -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        await hears(top, pilot, changed(pools=[{"id": "ram"}]))
        assert "another version" in top.text
        assert "gpu0" in top.text  # what was known last
        await hears(top, pilot, FULL)
        assert "another version" not in top.text

    play(story)


def test_a_daemon_with_nothing_says_what_to_do() -> None:
    empty = changed(
        pools=[], models=[], engines=[], findings=[], gateway=None, installed=[], sample_age=None
    )

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        assert "the first sample is not in yet" in top.text
        assert "ullage doctor" in top.text
        for key in ("p", "u", "s", "w", "e", "l", "escape", "d", "escape"):
            await press(pilot, key)
        await settle(pilot)
        assert top.client.wishes == []
        assert len(top.screen.query(Toast)) == 1
        await press(pilot, "escape")
        await hears(top, pilot, {**empty, "sample_age": 0.1, "installed": [installed("a/b", 3)]})
        assert "no model is loaded; 1 installed: l loads one" in top.text

    play(story, dashboard(state=empty))


@pytest.mark.parametrize("name", ["x/\x1b[2J\u202e", "x/[bold red]m[/]", "x/[@click=quit]y[/]"])
def test_what_strangers_call_a_model_is_shown_as_it_is(name: str) -> None:
    odd = model(name, (ONE, 90, "measured"), kept_by=[f"leased by {name} (1 s left)"])
    bad = engine(name, 1, fault=name)
    state = changed(models=[odd], installed=[installed(name + "2", None)], engines=[bad])
    shown = name.encode("unicode_escape").decode() if not name.isprintable() else name

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        assert shown in top.text
        for key in ("u", "n", "e", "escape", "f", "escape", "l"):
            await press(pilot, key)
            await settle(pilot)
            assert "".join(top.text.split("\n")).isprintable()
        await press(pilot, "escape", "p")
        await settle(pilot)
        assert f"{shown} is pinned" in toasts(top)

    play(story, dashboard(state=state))


def test_without_colours_letters_say_how_far_each_model_goes() -> None:
    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        assert "a qwen2.5-coder-32b" in top.text
        segments = [s for strip in top.screen._compositor.render_strips() for s in strip]
        coloured = {str(s.style.color) for s in segments if s.style and s.style.color}
        assert all("default" in c for c in coloured), coloured

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        app = dashboard(look=Look(colour=False))
    play(story, app)


def test_headings_are_bold_and_the_banner_stands_out_with_and_without_colours() -> None:
    error = NoDaemon("no daemon answers", "refused", "ullage run")

    async def story(top: Dashboard, pilot: Pilot[None]) -> None:
        top.post_message(Heard(Lost(error, top.at)))
        await settle(pilot)
        segments = [s for strip in top.screen._compositor.render_strips() for s in strip]
        heading = next(s for s in segments if "MODEL" in s.text)
        banner = next(s for s in segments if "no daemon answers" in s.text)
        assert heading.style is not None
        assert banner.style is not None
        assert heading.style.bold
        assert banner.style.bgcolor.name == "red" if top.look.colour else banner.style.reverse

    for look in (Look(), Look(colour=False)):
        play(story, dashboard(look=look))
