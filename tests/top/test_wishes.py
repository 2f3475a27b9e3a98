from __future__ import annotations

from typing import Any

import pytest

from supervisor.cli.client import Client, NoDaemon, Refused
from supervisor.top.wishes import ADVICE, Wishes, patient, trouble
from tests.canned import DONE, REFUSED, running
from tests.top.fakes import FakeClient

NAME = "ollama/qwen3:8b"


def wishes(client: FakeClient) -> Wishes:
    any_: Any = client
    return Wishes(any_, any_)


@pytest.mark.parametrize(
    ("wish", "path", "body"),
    [
        ("pin", "/pin", {"model": NAME}),
        ("unpin", "/unpin", {"model": NAME}),
        ("unload", "/evict", {"models": [NAME]}),
        ("sleep", "/sleep", {"models": [NAME]}),
        ("wake", "/wake", {"model": NAME}),
        ("load", "/load", {"model": NAME}),
    ],
)
def test_each_wish_names_its_model_and_tells_of_success(
    wish: str, path: str, body: dict[str, Any]
) -> None:
    client = FakeClient()
    said = getattr(wishes(client), wish)(NAME)
    assert said.well
    assert client.wishes == [(path, body)]


def test_a_wish_that_is_not_fulfilled_says_what_why_and_what_to_try() -> None:
    client = FakeClient()
    client.says["/load"] = {"ok": False, "sentences": ["it lacks 3 GiB"], "decision": DONE}
    said = wishes(client).load(NAME)
    assert not said.well
    assert said.what == f"{NAME} was not loaded"
    assert said.text == f"it lacks 3 GiB\ntry: ullage plan --load '{NAME}'"


def test_what_is_pinned_or_only_advised_gets_its_own_advice() -> None:
    client = FakeClient()
    client.says["/evict"] = {"ok": False, "sentences": [], "decision": REFUSED}
    assert "unpin it: p" in wishes(client).unload(NAME).try_
    advising = {**DONE, "mode": "advise"}
    client.says["/evict"] = {"ok": False, "sentences": [], "decision": advising}
    assert wishes(client).unload(NAME).try_ == ADVICE


def test_trouble_is_told_as_the_client_says_it() -> None:
    said = trouble(NoDaemon("nobody answers", "refused", "ullage run"))
    assert said.text == "refused\ntry: ullage run"
    unknown = Refused(404, {"detail": "no such model", "closest": ["a/b", "a/c"]})
    assert trouble(unknown).text == "did you mean a/b or a/c?"


def test_what_takes_its_time_is_asked_of_the_same_daemon_with_more_patience() -> None:
    with running() as daemon:
        daemon.say("/api/v1/version", {"version": "1"})
        longer = patient(Client(daemon.address, token="secret", timeout=1.0), 300.0)
        longer.get("/api/v1/version")
        assert longer.timeout == 300.0
        assert daemon.asked[0][2]["Authorization"] == "Bearer secret"
