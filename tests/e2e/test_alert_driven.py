"""Somebody fills a GPU; a rule of those that are shipped fires; the right models leave.

Prometheus, Alertmanager, the daemon and the way between them are real: the driver and the engines
are made of values. The daemon's own relief waits for an hour here, so that the alert is what acts.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.stack import MISSING
from tests.e2e.stage import FOREIGN, LOW, MUCH, OTHER, PATH, Stage, staged
from tests.readers import GPU

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not here: {', '.join(MISSING)}"),
]


async def a_breach_is_answered_after_two_refusals(stage: Stage) -> str:
    """And only the GPU that is short gives up models. How long each took."""
    stage.door.refuses = 2
    before = await stage.decided()
    with stage.trainer(MUCH) as breached:
        await stage.until(stage.is_freed_since(breached))
        freed = stage.cards.freed_at
        await stage.is_over_for("firing", "done")
        first, second, third = stage.deliveries(breached)[:3]
        assert [d.status for d in (first, second, third)] == [503, 503, 202]
        episodes = {
            (a["fingerprint"], a["startsAt"]) for d in (first, second, third) for a in d.of(LOW)
        }
        assert len(episodes) == 1, "a retry says the same"
        assert third.headers["authorization"] == f"Bearer {stage.token.read_text()}"
        assert {a["labels"]["pool"] for a in third.of(LOW)} == {GPU}
        await stage.only_the_alert_acted(before)
        await stage.calm()  # the trainer is still there
    (row,) = [a for a in await stage.alerts() if a["status"] == "firing" and a["name"] == LOW]
    assert (row["action"], row["by"]) == ("make-room", "alertmanager")
    assert await stage.outcomes() == [("firing", "done"), ("resolved", "resolved")]
    stage.reload()
    return (
        f"breach -> webhook {first.at - breached:.2f} s, refused twice -> accepted"
        f" {third.at - breached:.2f} s -> freed {freed - breached:.2f} s"
    )


async def without_refusals_it_is_quick(stage: Stage) -> str:
    """Most of the time from the breach to freed bytes is Prometheus's: it looks once a second."""
    before = await stage.decided()
    with stage.trainer(MUCH) as breached:
        await stage.until(stage.is_freed_since(breached))
        freed = stage.cards.freed_at
        sent = stage.deliveries(breached)[0]
        assert freed - sent.at < 5
        await stage.is_over_for("firing", "done")
        await stage.only_the_alert_acted(before)
        await stage.calm()
    stage.reload()
    return (
        f"breach -> webhook {sent.at - breached:.2f} s -> freed {freed - breached:.2f} s:"
        f" {freed - sent.at:.2f} s of that are ours"
    )


async def said_again_it_does_nothing_again(stage: Stage) -> None:
    """By Alertmanager's own repeats while nobody can leave, and by whoever plays it back."""
    models = [f"left/{m}" for m in stage.left.loaded]
    for model in models:
        assert (await stage.daemon.post("pin", {"model": model})).status_code == 200
    with stage.trainer(MUCH) as breached:
        known = {a["id"] for a in await stage.alerts()}

        async def is_repeated() -> bool:
            passed = [d for d in stage.deliveries(breached) if d.status == 202]
            return [d.answer["alerts"][0]["outcome"] for d in passed].count("duplicate") >= 2

        await stage.until(is_repeated)
        new = [a for a in await stage.alerts() if a["id"] not in known and a["name"] == LOW]
        said = [(a["fingerprint"], a["starts_at"], a["status"]) for a in new]
        assert len(set(said)) == len(said), "one episode is one decision, however often it is said"
        assert {a["outcome"] for a in new if a["status"] == "firing"} - {None} == {"failed"}
        assert sorted(stage.left.loaded) == ["a", "b"]
    for model in models:
        assert (await stage.daemon.post("unpin", {"model": model})).status_code == 200
    await stage.calm()
    decided, counts = await stage.decided(), await stage.counts()
    for delivery in stage.deliveries(breached)[:1] * 3:
        reply = await stage.send(delivery.body)
        assert (reply.status_code, reply.json()["accepted"]) == (202, 0)
    assert await stage.decided() == decided
    assert await stage.counts() == counts | {"duplicate": counts["duplicate"] + 3}
    assert sorted(stage.left.loaded) == ["a", "b"]


async def forged_labels_move_nothing(stage: Stage) -> None:
    """Whoever reaches Alertmanager can make alerts, with any labels."""
    forged = {
        "unknown_target": [
            {"alertname": LOW, "severity": "warning", "pool": "GPU-zzzz"},
            {"alertname": LOW, "severity": "warning", "pool": "../../etc/passwd"},
            {"alertname": LOW, "severity": "warning", "pool": GPU, "model": "$(reboot)"},
            {"alertname": LOW, "severity": "warning", "engine": "http://192.0.2.1/"},
            {"alertname": LOW, "severity": "warning", "pool": GPU, "uuid": OTHER},
        ],
        "no_action": [
            {"alertname": "UllageEngineDown", "ullage_action": "rm -rf /", "engine": "left"},
            {"alertname": LOW, "severity": "critical", "pool": GPU},
            {"alertname": "UllageEngineDown", "ullage_action": "make-room", "pool": GPU},
        ],
        # Nothing is short, and this token may not force anything.
        "disagreed": [
            {"alertname": LOW, "severity": "warning", "pool": GPU},
            {"alertname": LOW, "severity": "warning", "pool": GPU, "ullage_force": "true"},
            {"alertname": LOW, "severity": "warning", "engine": "left", "ullage_force": "true"},
        ],
    }
    known = {a["id"] for a in await stage.alerts()}
    labels = [one for some in forged.values() for one in some]
    # They name their own machine, so that each is a group of its own.
    sent = [{"labels": {**one, "instance": f"forged-{i}"}} for i, one in enumerate(labels)]
    await stage.make(sent)

    async def are_told() -> bool:
        new = [a for a in await stage.alerts() if a["id"] not in known]
        return len(new) >= len(labels) and all(a["outcome"] for a in new)

    await stage.until(are_told)
    told = {
        int(a["labels"]["instance"].removeprefix("forged-")): a["outcome"]
        for a in await stage.alerts()
        if a["id"] not in known
    }
    expected = [outcome for outcome, some in forged.items() for _ in some]
    assert [told[i] for i in range(len(labels))] == expected
    assert sorted(stage.left.loaded) == ["a", "b"]
    stage.the_other_gpu_is_left_alone()
    await stage.make([one | {"endsAt": datetime.now(UTC).isoformat()} for one in sent])
    await stage.calm()


async def without_its_token_nothing_is_heard(stage: Stage) -> None:
    """A wrong one is refused for good; once it is right, the next delivery is heard."""
    body = {"version": "4", "alerts": []}
    for headers in ({}, {"authorization": "Bearer wrong-wrong-wrong-wrong"}):
        reply = await stage.daemon.client.post(PATH, json=body, headers=headers)
        assert reply.status_code == 401, reply.text
    mine = {"authorization": f"Bearer {stage.token.read_text()}"}
    for path, asked in (("evict", {"all": True}), ("load", {"model": "a"})):
        reply = await stage.daemon.client.post(f"/api/v1/{path}", json=asked, headers=mine)
        assert reply.status_code == 403, "it is for alerts alone"
        assert "alerts:write" in reply.text
    right = stage.token.read_text()
    stage.token.write_text("wrong-wrong-wrong-wrong")
    with stage.trainer(MUCH) as breached:

        async def is_refused() -> bool:
            return bool(stage.deliveries(breached))

        await stage.until(is_refused)
        assert {d.status for d in stage.deliveries(breached)} == {401}
        assert sorted(stage.left.loaded) == ["a", "b"]
        stage.token.write_text(right)
        await stage.until(stage.is_freed_since(breached))
        await stage.is_over_for("firing", "done")
        await stage.calm()
    stage.reload()


async def what_holds_ends_with_its_alert(stage: Stage) -> None:
    """While it fires nothing is loaded there; it says itself when that is over."""
    alert = {"labels": {"alertname": FOREIGN, "pool": OTHER, "instance": "by-hand"}}
    await stage.make([alert])

    async def is_held() -> bool:
        return [h["action"] for h in (await stage.daemon.state())["alerts"]["holds"]] == ["no-more"]

    await stage.until(is_held)
    assert await stage.daemon.metric('ullage_alert_holds{action="pause"}') == 1
    await stage.make([alert | {"endsAt": datetime.now(UTC).isoformat()}])

    async def is_over() -> bool:
        return (await stage.daemon.state())["alerts"]["holds"] == []

    await stage.until(is_over)
    await stage.calm()


def test_an_alert_makes_room_on_the_gpu_that_it_is_about(
    tmp_path: Path, nvml_library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def story() -> tuple[str, ...]:
        async with asyncio.timeout(200), staged(tmp_path, nvml_library) as stage:
            slow = await a_breach_is_answered_after_two_refusals(stage)
            quick = await without_refusals_it_is_quick(stage)
            await said_again_it_does_nothing_again(stage)
            await forged_labels_move_nothing(stage)
            await what_holds_ends_with_its_alert(stage)
            await without_its_token_nothing_is_heard(stage)
            return slow, quick

    told = asyncio.run(story())
    with capsys.disabled():
        print("", *told, sep="\n")
