"""What the soak would see, if engines were told what they must not be told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from tests.daemon import Daemon
from tests.load.churn import Churn
from tests.load.clients import Asked, Call, Crowd
from tests.load.machine import Engine, Machine
from tests.load.orders import Orders

UNLOAD, LOAD = "POST /models/unload", "POST /models/load"


class Scene:
    """One engine with three models, a journal without a decision, and nobody else."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(folder, engines=1, models=3)
        self.engine: Engine = self.machine.engines[0]
        journal = folder / "journal.db"
        self.machine.learned(journal)
        self.crowd = Crowd("http://127.0.0.1:1", [], [], 1, 1)
        self.churn = Churn(cast(Daemon, None), self.machine, list(self.engine.models), 1)
        self.orders = Orders(self.machine, self.crowd, self.churn, 1, journal)

    def tell(self, call: str, model: str) -> None:
        self.engine.answer(call, {}, {"model": model})

    def wrong(self, rule: str) -> list[str]:
        return [words for words in self.orders.broken() if words.startswith(f"GPU 0: {rule}")]


def scene(folder: Path, tale: Callable[[Scene], Any]) -> Scene:
    async def told() -> Scene:
        found = Scene(folder)
        tale(found)
        return found

    return asyncio.run(told())


def test_an_order_that_is_not_on_disk_is_a_breach(tmp_path: Path) -> None:
    def tale(at: Scene) -> None:
        at.tell(LOAD, "m00-0")

    assert "is not written down" in scene(tmp_path, tale).wrong("I7")[0]


def test_a_model_that_serves_somebody_is_not_to_go(tmp_path: Path) -> None:
    def tale(at: Scene) -> None:
        at.engine.take("m00-0")
        at.engine.serving["m00-0"].add("n1")
        at.tell(UNLOAD, "m00-0")
        asked = Asked("n2", "m00-1", 3, True, False, 0.0)
        at.crowd._calls["n2"] = Call(asked, b"")
        at.engine.take("m00-1")
        at.engine.serving["m00-1"].add("n2")
        at.tell(UNLOAD, "m00-1")

    (found,) = scene(tmp_path, tale).wrong("I1")  # n1 has hung up
    assert "m00-1" in found
    assert "serves 1" in found


def test_a_model_that_is_pinned_or_leased_is_not_to_go(tmp_path: Path) -> None:
    def tale(at: Scene) -> None:
        at.churn._pinned, at.churn._pinned_at = "m00-0", 0.0
        at.churn._leases["x"] = "m00-1", 0.0, float("inf")
        for model in at.engine.models:
            at.engine.take(model)
            at.tell(UNLOAD, model)

    pinned, leased = scene(tmp_path, tale).wrong("I1")
    assert "m00-0" in pinned and "is pinned" in pinned  # noqa: PT018
    assert "m00-1" in leased and "is leased" in leased  # noqa: PT018


def test_nothing_is_told_about_a_gpu_that_nobody_can_read(tmp_path: Path) -> None:
    def tale(at: Scene) -> None:
        at.tell(LOAD, "m00-0")
        (call,) = at.orders.histories[0].calls
        at.churn.lost.append((0, call.began - 5.0, call.began + 1.0))

    assert "while nobody can read the GPU" in scene(tmp_path, tale).wrong("I2")[0]


def test_whom_an_operator_names_may_go_from_a_gpu_that_nobody_can_read(tmp_path: Path) -> None:
    def tale(at: Scene, kind: str, *triggers: str) -> None:
        at.tell(kind, "m00-0")
        (call,) = at.orders.histories[0].calls
        call.decisions = [{"trigger": trigger} for trigger in triggers]
        at.churn.lost.append((0, call.began - 5.0, call.began + 1.0))

    def found(number: int, *told: str) -> list[str]:
        folder = tmp_path / str(number)
        folder.mkdir()
        return scene(folder, lambda at: tale(at, *told)).wrong("I2")

    assert found(0, UNLOAD, "operator") == []
    for number, told in enumerate([(UNLOAD, "relief"), (UNLOAD,), (LOAD, "operator")], 1):
        assert len(found(number, *told)) == 1, told


def test_a_load_has_room_unless_a_stranger_took_it(tmp_path: Path) -> None:
    def tale(at: Scene) -> None:
        at.machine.cards.add(0, 20 << 30, None, "a stranger came")
        at.tell(LOAD, "m00-2")

    def excused(at: Scene) -> None:
        at.machine.cards.unknown(0)
        tale(at)

    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    assert "bytes are lacking" in scene(first, tale).wrong("I5")[0]
    assert scene(second, excused).wrong("I5") == []


def test_of_what_nobody_can_know_and_of_who_leaves_no_room_is_asked(tmp_path: Path) -> None:
    """A model that came for the first time has filled the GPU; the next one leaves it so."""

    def tale(at: Scene, size: int) -> None:
        cards = at.machine.cards
        cards.unknown(0)
        cards.add(0, 30 << 30, None, "+m00-1.1")
        cards.known(0)
        history = at.orders.histories[0]  # all that was a while ago
        history.memory = [replace(m, at=m.at - 9.0) for m in history.memory]
        times = ("began", "lifted", "normal")
        history.troubles = [
            replace(t, **{k: getattr(t, k) - 9.0 for k in times}) for t in history.troubles
        ]
        at.machine.engines[0].sizes["m00-2"] = size
        at.tell(LOAD, "m00-2")
        cards.add(0, -(1 << 30), None, "-m00-0")

    def found(size: int) -> list[str]:
        folder = tmp_path / str(size)
        folder.mkdir()
        return scene(folder, lambda at: tale(at, size)).wrong("I5")

    assert found(0) == []
    assert len(found(1)) == 1


def test_the_next_model_goes_when_the_memory_of_the_last_is_back(tmp_path: Path) -> None:
    def tale(at: Scene) -> None:
        for model in ("m00-0", "m00-1"):
            at.engine.take(model)
            at.tell(UNLOAD, model)

    assert "before e00/m00-0" in scene(tmp_path, tale).wrong("I4")[0]


def test_of_a_name_that_was_given_away_again_nobody_is_told_but_that_there_is_none(
    tmp_path: Path,
) -> None:
    async def told() -> tuple[int, Any]:
        shop = Machine(tmp_path, engines=3, models=3).engines[2]
        for old, new in ((shop.models[0], "a"), ("a", "b")):
            shop.pids[old] = 1
            shop.rename(old, new)
        found: tuple[int, Any] = shop.answer("POST /api/generate", {}, {"model": "a"})
        return found

    status, body = asyncio.run(told())
    assert status == 404, body
