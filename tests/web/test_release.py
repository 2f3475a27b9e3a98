"""Devices let go of for an administrator, and taken back, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .fakes import API, EPOCH, NOW, World, early, play, post


@pytest.mark.parametrize(
    ("period", "seconds"),
    [("10m", 600), ("1h30m", 5400), (90, 90), ("0.5", 0.5), (86400, 86400), ("1d", 86400)],
)
def test_a_release_says_who_let_go_and_until_when(period: Any, seconds: float) -> None:
    world = World()
    reply = post("/release", {"period": period}, world)
    assert (reply.status_code, reply.json()) == (
        200,
        {"released": ["nvidia"], "until": EPOCH + seconds},
    )
    assert world.sources.released == NOW + seconds


def test_a_resume_says_who_came_back() -> None:
    world = World()

    async def story(http: httpx.AsyncClient) -> list[Any]:
        replies = [
            await http.post(f"{API}/{path}", json=body)
            for path, body in (("resume", {}), ("release", {"period": "1m"}), ("resume", {}))
        ]
        assert [r.status_code for r in replies] == [200] * 3
        return [r.json() for r in replies]

    nothing, _, back = play(story, world)
    assert (nothing, back) == ({"resumed": []}, {"resumed": ["nvidia"]})
    assert world.sources.released is None


def test_where_nothing_is_held_open_there_is_nothing_to_let_go_of() -> None:
    world = World()
    world.sources.holds = []
    reply = post("/release", {"period": "10m"}, world)
    assert reply.status_code == 409
    assert reply.headers["content-type"] == "application/problem+json"
    assert "there is nothing to let go of" in reply.json()["detail"]


def test_a_driver_that_does_not_let_go_is_told() -> None:
    world = World()
    world.sources.open = ["nvidia"]
    reply = post("/release", {"period": "10m"}, world)
    assert reply.status_code == 409
    assert "nvidia: the driver does not let go" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("period", "mistake"),
    [
        ("ten minutes", "not a duration"),
        ("", "not a duration"),
        (-5, "negative"),
        ("-5m", "negative"),
        (0, "greater than 0"),
        ("0s", "greater than 0"),
        (86401, "less than or equal to 86400"),
        ("2d", "less than or equal to 86400"),
        (True, "not a duration"),
        (None, "not a duration"),
        ([5], "not a duration"),
    ],
)
def test_a_period_that_is_none_is_a_mistake_and_nothing_is_let_go_of(
    period: Any, mistake: str
) -> None:
    world = World()
    reply = post("/release", {"period": period}, world)
    assert reply.status_code == 422
    [error] = reply.json()["errors"]
    assert error.startswith("period: ")
    assert mistake in error
    assert world.sources.released is None


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("/release", {}, ["period: is missing"]),
        (
            "/release",
            {"priod": "5m"},
            ["period: is missing", "priod: there is no such key; did you mean period?"],
        ),
        (
            "/release",
            {"period": "soon", "force": True},
            ["period: ", "force: there is no such key; the keys are period"],
        ),
        ("/resume", {"period": "5m"}, ["period: there is no such key"]),
    ],
)
def test_every_mistake_of_a_body_is_told(path: str, body: Any, errors: list[str]) -> None:
    reply = post(path, body)
    assert reply.status_code == 422
    found = reply.json()["errors"]
    assert len(found) == len(errors)
    assert all(told.startswith(begin) for told, begin in zip(found, errors, strict=True))


@pytest.mark.parametrize("path", ["release", "resume"])
def test_looking_is_not_asking(path: str) -> None:
    assert early(f"{API}/{path}").status_code == 405


def test_the_keys_of_a_body_that_has_none_are_not_listed() -> None:
    [error] = post("/resume", {"x": 1}).json()["errors"]
    assert error == "x: there is no such key; it takes none"
