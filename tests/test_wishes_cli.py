"""Loads, unloads and dry runs at the command line, against canned answers of a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from collectors.reading import gib
from tests.canned import DONE, REFUSED, Daemon, model, running, ullage

ONE = "GPU-8f6f1c5e-7a42-4c1b-9d3e-2b1a0c9d8e7f"


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    for name in ("ULLAGE_URL", "ULLAGE_TOKEN", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


def holder(name: str, size: float, why: str, pid: int | None = None) -> dict[str, Any]:
    return {"name": name, "size": gib(size), "why": why, "pid": pid}


def short(*holders: dict[str, Any], missing: float = 5.5, needs: float = 21.4) -> dict[str, Any]:
    return {
        "pool": ONE,
        "needs": gib(needs),
        "total": gib(24),
        "free": gib(6.1),
        "reserve": gib(0.5),
        "promised": 0,
        "reclaimable": gib(9.8),
        "missing": gib(missing),
        "holders": list(holders),
    }


def answer(decision: Any, *sentences: str, ok: bool = True, **more: Any) -> dict[str, Any]:
    return {"decision": decision, "sentences": list(sentences), "ok": ok, **more}


def planned(works: bool = True, **others: Any) -> dict[str, Any]:
    nothing = {"actions": [], "notes": [], "unmet": [], "full": [], "sentences": ["so be it"]}
    return {"works": works, **nothing, **others}


# -- a load that was refused


def test_a_load_without_room_says_what_it_needs_who_has_it_and_what_to_try(daemon: Daemon) -> None:
    held = (
        holder("ollama/llama3:8b", 5.6, "pinned"),
        holder("ollama/b c", 1, "busy"),
        holder("comfyui\x1b", 6, "not ours", 4121),
    )
    row = {**REFUSED, "short": [short(*held)]}
    daemon.say("/api/v1/load", answer(row, "d-1: asked to load", "and more", ok=False))
    result = ullage("load", "qwen3:32b")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.splitlines() == [
        "error: qwen3:32b was not loaded: it needs about 21.4 GiB of GPU-8f6f1c5e, 6.1 GiB is free"
        " (512.0 MiB set aside) and 9.8 GiB can be reclaimed",
        "  why: the rest of GPU-8f6f1c5e is held: ollama/llama3:8b 5.6 GiB (pinned); ollama/b c"
        " 1.0 GiB (busy); comfyui\\x1b 6.0 GiB (not ours, pid 4121)",
        "  try: ullage unpin ollama/llama3:8b · ullage evict 'ollama/b c' · ullage why qwen3:32b"
        " · ullage load qwen3:32b --dry-run",
    ]


def test_what_could_never_fit_is_not_blamed_on_a_pin(daemon: Daemon) -> None:
    row = {**REFUSED, "short": [short(holder("ollama/a", 5, "pinned"), missing=80, needs=100)]}
    daemon.say("/api/v1/load", answer(row, "d-1: asked", ok=False))
    assert "unpin" not in ullage("load", "b").stderr
    daemon.say("/api/v1/evict", answer(row, "d-1: asked", ok=False))
    result = ullage("evict", "--free", "100GiB")
    assert "error: 100GiB of headroom could not be made: it needs about 100.0 GiB" in result.stderr
    assert "unpin" not in result.stderr


def test_a_leased_model_in_the_way_points_to_the_leases(daemon: Daemon) -> None:
    row = {**REFUSED, "short": [short(holder("o/a", 9, "leased"))]}
    daemon.say("/api/v1/load", answer(row, "d-1: asked", ok=False))
    assert "try: ullage lease --list · ullage why b" in ullage("load", "b").stderr


def test_a_reservation_and_a_lease_without_room_say_so_too(daemon: Daemon) -> None:
    row = {**REFUSED, "short": [short(holder("o/a", 9, "pinned"))]}
    refused = answer(row, "d-1: asked", ok=False, reservation=None, lease=None)
    daemon.say("/api/v1/reservations", refused)
    result = ullage("reserve", "8GiB")
    assert (result.exit_code, "8GiB cannot be kept free: it needs about" in result.stderr) == (
        5,
        True,
    )
    daemon.say("/api/v1/leases", refused)
    result = ullage("lease", "b")
    assert result.exit_code == 5
    assert "b is not loaded, and cannot be: it needs about" in result.stderr
    assert "ullage unpin o/a" in result.stderr


def test_a_daemon_that_only_advises_says_so_for_a_load(daemon: Daemon) -> None:
    row = {**DONE, "mode": "advise"}
    daemon.say("/api/v1/load", answer(row, "d-1: asked", "it would go", ok=False))
    result = ullage("load", "a")
    assert (result.exit_code, "ullage run --mode enforce" in result.stderr) == (5, True)


def test_what_a_daemon_that_acts_would_refuse_too_is_not_blamed_on_the_mode(
    daemon: Daemon,
) -> None:
    row = {**REFUSED, "mode": "advise", "actions": []}
    for path, *words in (
        ("load", "load", "a"),
        ("evict", "evict", "--all"),
        ("reservations", "reserve", "8GiB"),
    ):
        daemon.say(f"/api/v1/{path}", answer(row, "d-1: asked", "it cannot be", ok=False))
        result = ullage(*words)
        assert (result.exit_code, "--mode enforce" in result.stderr) == (5, False), words


# -- unload, sleep, wake


@pytest.mark.parametrize(
    ("words", "path", "body"),
    [
        (["unload", "a", "b"], "unload", {"models": ["a", "b"], "wait": True}),
        (["unload", "--all", "--no-wait"], "unload", {"all": True, "wait": False}),
        (["unload", "a", "--force"], "unload", {"models": ["a"], "force": True, "wait": True}),
        (["sleep", "a", "b"], "sleep", {"models": ["a", "b"]}),
        (["wake", "a"], "wake", {"model": "a"}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_what_is_asked_for_is_posted(
    daemon: Daemon, words: list[str], path: str, body: dict[str, Any]
) -> None:
    daemon.say(f"/api/v1/{path}", answer(DONE, "it is done"))
    result = ullage(*words)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "it is done\n", "")
    assert (daemon.asked[0][:2], daemon.body) == (("POST", f"/api/v1/{path}"), body)


@pytest.mark.parametrize("words", [["unload"], ["unload", "a", "--all"], ["sleep"], ["wake"]])
def test_a_wish_about_nobody_is_not_posted(daemon: Daemon, words: list[str]) -> None:
    assert ullage(*words).exit_code == 2
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("why", "words", "what", "try_"),
    [
        ("pinned", ["unload", "a"], "a was not unloaded", "ullage unpin o/a"),
        ("busy", ["unload", "a"], "a was not unloaded", "ullage evict --force o/a"),
        ("busy", ["sleep", "a"], "a was not put to sleep", "ullage evict --force o/a"),
        ("busy", ["unload", "a", "b"], "not everything that was asked for was unloaded", ""),
        ("busy", ["unload", "--all"], "not everything that was asked for was unloaded",
         "ullage status"),
    ],
)  # fmt: skip
def test_who_stayed_is_named_with_what_would_help(
    daemon: Daemon, why: str, words: list[str], what: str, try_: str
) -> None:
    row = {**DONE, "notes": [{"model": "o/a", "why": why}]}
    daemon.say(f"/api/v1/{words[0]}", answer(row, "d-1: asked", "o/a stayed", ok=False))
    result = ullage(*words)
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr.splitlines()[0] == f"error: {what}"
    assert result.stderr.splitlines()[1] == "  why: o/a stayed"
    assert f"try: {try_}" in result.stderr


def test_who_leaves_later_is_waited_for_by_unload_as_by_evict(daemon: Daemon) -> None:
    later = answer(DONE, "it leaves", leaving=[{"model": "o/a", "contexts": 1}])
    daemon.say("/api/v1/unload", later)
    daemon.say("/api/v1/models", {"models": [], "installed": []})
    assert "o/a has left" in ullage("unload", "a").stdout
    assert "has left" not in ullage("unload", "a", "--later").stdout


# -- dry runs


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["load", "a", "--dry-run"], {"load": "a"}),
        (["wake", "a", "--dry-run"], {"load": "a"}),
        (["unload", "a", "b", "--dry-run"], {"evict": ["a", "b"]}),
        (["evict", "a", "--force", "--dry-run"], {"evict": ["a"], "force": True}),
        (["evict", "--free", "8GiB", "--pool", "x", "--dry-run"], {"free": "8GiB", "pool": "x"}),
        (["reserve", "8GiB", "--dry-run"], {"free": "8GiB"}),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_a_dry_run_asks_for_the_plan_alone(
    daemon: Daemon, words: list[str], body: dict[str, Any]
) -> None:
    daemon.say("/api/v1/plan", planned())
    result = ullage(*words)
    assert (result.exit_code, result.stdout) == (0, "so be it\n")
    assert [(m, p) for m, p, _, _ in daemon.asked] == [("POST", "/api/v1/plan")]
    assert daemon.body == body
    daemon.say("/api/v1/plan", planned(works=False))
    assert ullage(*words).exit_code == 5


@pytest.mark.parametrize("command", ["unload", "evict"])
def test_a_dry_run_of_all_names_them_all(daemon: Daemon, command: str) -> None:
    daemon.say("/api/v1/models", {"models": [model("o/a"), model("o/b")], "installed": []})
    daemon.say("/api/v1/plan", planned(notes=[{"model": "o/a", "why": "pinned"}]))
    assert ullage(command, "--all", "--dry-run").exit_code == 0, "who is pinned was not meant"
    assert daemon.body == {"evict": ["o/a", "o/b"]}
    assert ullage(command, "a", "--dry-run").exit_code == 5, "who is named was"
    daemon.say("/api/v1/models", {"models": [], "installed": []})
    assert ullage(command, "--all", "--dry-run").stdout == "no model is loaded\n"


def test_a_dry_run_of_a_pin_says_whom_it_means_and_pins_nobody(daemon: Daemon) -> None:
    told = ["o/a holds 4 GiB", "and more"]
    daemon.say("/api/v1/why", {"model": "o/a", "sentences": told, "decisions": []})
    result = ullage("pin", "a", "--dry-run")
    assert result.stdout.splitlines() == [
        "o/a would be pinned, and nobody would make it go",
        "o/a holds 4 GiB",
    ]
    assert [m for m, _, _, _ in daemon.asked] == ["GET"]


@pytest.mark.parametrize(
    ("words", "path"),
    [(["unload", "a"], "unload"), (["sleep", "a"], "sleep"), (["wake", "a"], "wake"),
     (["load", "a", "--dry-run"], "plan"), (["pin", "a"], "pin"), (["unpin", "a"], "unpin")],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)  # fmt: skip
def test_as_json_it_is_exactly_what_the_daemon_wrote(
    daemon: Daemon, words: list[str], path: str
) -> None:
    text = daemon.say(f"/api/v1/{path}", {**planned(), **answer(DONE), "unheard of": [1, "ü"]})
    result = ullage(*words, "--json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, text + "\n", "")
