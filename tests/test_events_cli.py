"""`ullage events`: what has happened and what happens, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest
from click.shell_completion import ShellComplete

from collectors.reading import gib
from supervisor.cli import following
from supervisor.cli.following import Event
from supervisor.cli.happened import KINDS, SILENT, line
from supervisor.cli.main import cli
from supervisor.feed import KINDS as SENT
from tests.canned import ALERT, DONE, REFUSED, Daemon, running, ullage

AT = 1_790_000_000.0  # 14:13:20 UTC
MODEL = {"model": "o/a", "state": "loaded", "before": None, "size": gib(6), "pool": "GPU-aaaa"}
OUTCOME = {**DONE["outcomes"][0], "decision": "d-000012"}

LINES: list[tuple[str, dict[str, Any], str]] = [
    ("model", MODEL, "o/a: loaded, 6 GiB of GPU-aaaa"),
    ("model", {**MODEL, "before": "loaded", "state": "left"},
     "o/a: loaded, now left, 6 GiB of GPU-aaaa"),
    ("model", {**MODEL, "size": 0}, "o/a: loaded"),
    ("model", {**MODEL, "pool": None}, "o/a: loaded, 6 GiB"),
    ("engine", {"engine": "o", "up": True, "fault": None}, "o answers"),
    ("engine", {"engine": "o", "up": True, "fault": "slow"}, "o answers, but slow"),
    ("engine", {"engine": "o", "up": False, "fault": "refused"}, "o is down: refused"),
    ("decision", {**DONE, "decision": "d-000012"},
     "d-000012 GPU-1c4e22d9: headroom is gone: unload ollama/gemma3:4b"),
    ("decision", {**REFUSED, "decision": "d-000011"},
     "d-000011 asked to load ollama/qwen3:32b: refused, nobody went"),
    ("decision", {**DONE, "decision": "d-1", "actions": [], "mode": "advise",
                  "notes": [{"model": "o/a", "why": "pinned"}]},
     "d-1 GPU-1c4e22d9: headroom is gone: nobody went: o/a (pinned) (advise only)"),
    ("decision", {**DONE, "decision": "d-1", "actions": [], "notes": []},
     "d-1 GPU-1c4e22d9: headroom is gone: nothing to do"),
    ("outcome", OUTCOME,
     "d-000012 unload ollama/gemma3:4b: done, recovered: 4.8 GiB of 4.8 GiB came back, in 0.8 s"),
    ("outcome", {**OUTCOME, "action": "load", "judgement": None, "detail": "no\x1b"},
     "d-000012 load ollama/gemma3:4b: done (no\\x1b), in 0.8 s"),
    ("finding", {"finding": "pressure", "subject": "ram", "severity": "warning",
                 "detail": "too little", "open": True}, "warning: ram: too little"),
    ("finding", {"finding": "pressure", "subject": "ram", "severity": "warning",
                 "detail": "too little", "open": False}, "over: ram: pressure"),
    ("claim", {"what": "pins"}, "pins changed"),
    ("alert", ALERT,
     "UllageHeadroomLow fires, make-room on GPU-8f6f1c5e: done: 1 model left (d-7)"),
    ("alert", {**ALERT, "status": "resolved", "action": None, "outcome": "no_action", "detail": "",
               "decision": None}, "UllageHeadroomLow is over: no action is configured for it"),
    ("settings", {"key": "ranking", "value": "lru"}, "ranking = lru"),
    ("settings", {"key": "ranking", "value": None}, "ranking is again as it is configured"),
    ("config", {"ok": True, "mistakes": [], "changed": ["a"], "restart": ["b"]},
     "read anew: a changed; b at the next start"),
    ("config", {"ok": False, "mistakes": ["x", "y"], "changed": [], "restart": []},
     "refused, the old one stays in force: 2 mistakes: x; y"),
    ("daemon", {"text": "stopping"}, "stopping"),
    ("reset", {"why": "another daemon"}, "what happened meanwhile is not known: another daemon"),
    ("sample", {"pools": [{"id": "ram", "headroom": gib(2)}], "busy": 1, "waiting": 0},
     "ram 2 GiB of headroom; 1 busy, 0 waiting"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "text"), LINES)
def test_every_event_is_a_line(kind: str, data: dict[str, Any], text: str) -> None:
    assert line({**data, "kind": kind, "at": AT}, UTC) == f"14:13:20  {kind:<8}  {text}"


def test_every_kind_that_is_sent_has_its_words() -> None:
    assert {kind for kind, _, _ in LINES} == {*SENT} - {"hello"}
    assert {*KINDS, *SILENT} == {*SENT}


def test_an_event_of_another_version_is_shown_as_it_is() -> None:
    assert line({"kind": "model", "id": "e-1", "at": AT, "name": "x"}, UTC) == (
        "14:13:20  model     name x"
    )
    assert line({"kind": "dance", "steps": 3}) == "          dance     steps 3"


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    for name in ("ULLAGE_URL", "ULLAGE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


CLAIM = {"id": "e-1", "kind": "claim", "at": AT, "what": "pins"}


def test_what_has_happened_is_listed_the_newest_last(daemon: Daemon) -> None:
    daemon.say("/api/v1/events", {"events": [CLAIM, {**CLAIM, "what": "leases"}], "last": "e-2"})
    lines = ullage("events", "-n", "5").stdout.splitlines()
    assert [text.split()[2:] for text in lines] == [["pins", "changed"], ["leases", "changed"]]
    asked = daemon.asked[0][1]
    assert "limit=5" in asked
    assert "decision" in asked
    assert "sample" not in asked, "said each second: only where it is asked for"
    out = ullage("events", "--json", "--kinds", "claim, sample", "--after", "e-0").stdout
    assert [json.loads(text)["what"] for text in out.splitlines()] == ["pins", "leases"]
    assert "after=e-0&kinds=claim%2Csample" in daemon.asked[1][1]


def test_where_nothing_has_happened_yet_it_says_so_to_people_alone(daemon: Daemon) -> None:
    daemon.say("/api/v1/events", {"events": [], "last": "e-0"})
    result = ullage("events")
    assert (result.stdout, "nothing has happened yet" in result.stderr) == ("", True)
    assert ullage("events", "--json").output == ""


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is followed: each is an event, or why a connection ended. Keeps how it was asked."""
    asked: list[Any] = []

    def follow(client: Any, kinds: str, after: str | None, lost: Any) -> Iterator[Event]:
        asked.append((kinds, after))
        yield Event(None, "hello", {"at": AT, "version": "1", "last": "e-1"})
        yield Event("e-2", "claim", {"at": AT, "what": "leases"})
        lost("hung \x1b up")
        yield Event(None, "reset", {"at": AT, "why": "another daemon"})
        raise KeyboardInterrupt

    monkeypatch.setattr(following, "follow", follow)
    return asked


def test_following_goes_on_after_what_was_listed(daemon: Daemon, stream: list[Any]) -> None:
    daemon.say("/api/v1/events", {"events": [CLAIM], "last": "e-1"})
    result = ullage("events", "-f", "--kinds", "claim")
    assert result.exit_code == 0
    told = [text.split()[1:] for text in result.stdout.splitlines()]
    assert [words[0] for words in told] == ["claim", "claim", "reset"]
    assert told[0][1:] == ["pins", "changed"]
    assert "the connection ended (hung \\x1b up); trying again" in result.stderr
    assert stream == [("claim", "e-1")]


def test_following_from_a_place_or_from_now_lists_nothing_first(
    daemon: Daemon, stream: list[Any]
) -> None:
    ullage("events", "-f", "--after", "e-7", "--kinds", "claim")
    ullage("events", "-f", "-n", "0", "--kinds", "claim")
    assert (stream, daemon.asked) == ([("claim", "e-7"), ("claim", None)], [])
    rows = ullage("events", "-f", "-n", "0", "--json").stdout.splitlines()
    assert [json.loads(text)["id"] for text in rows] == ["e-2", None]


@pytest.mark.parametrize(
    ("given", "hint"),
    [("decison", "did you mean decision?"), ("xyzzy", "the kinds are model, engine"), ("", "the")],
)
def test_a_kind_that_there_is_not_is_refused_with_the_closest(
    daemon: Daemon, given: str, hint: str
) -> None:
    result = ullage("events", "--kinds", given)
    assert (result.exit_code, result.stdout, daemon.asked) == (2, "", [])
    assert hint in result.stderr


def test_kinds_are_completed_one_after_the_other() -> None:
    complete = ShellComplete(cli, {}, "ullage", "_ULLAGE_COMPLETE").get_completions
    assert [i.value for i in complete(["events", "--kinds"], "de")] == ["decision"]
    assert [i.value for i in complete(["events", "--kinds"], "model,out")] == ["model,outcome"]
