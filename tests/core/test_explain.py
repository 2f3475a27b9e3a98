from __future__ import annotations

from dataclasses import replace

from collectors.reading import Bytes, Seconds, gib
from supervisor.core.explain import duration, of_plan, of_room, sentence, size, tell, why
from supervisor.core.headroom import rooms
from supervisor.core.lines import lines_of
from supervisor.core.plan import Evict, Why, plan
from supervisor.core.policy import Watchdog
from supervisor.core.record import Decision, Mode, Outcome, Result
from supervisor.core.rows import decision_row
from supervisor.core.verdict import Judgement, Verdict
from tests.builders import GPU, NO_RESERVE, demand, machine, pool, ref, reserve, resident, share

WORLD = machine(
    resident("old", 8, idle=600),
    resident("busy", 4, busy=12),
    resident("kept", 4, idle=9),
    free=4,
)
POLICY = replace(NO_RESERVE, pinned=frozenset({"kept"}))


def test_every_reason_has_a_sentence_that_names_the_model() -> None:
    for reason in Why:
        assert "ollama/m" in sentence(reason, "ollama/m")


def test_a_plan_is_told_with_everybody_s_reason_and_the_bytes() -> None:
    text = "\n".join(of_plan(plan(WORLD, POLICY, demand("new", 10))))
    assert "ollama/old was chosen to go" in text
    assert "frees 8.0 GiB of gpu:0" in text
    assert "ollama/busy stayed: it was serving a request" in text
    assert "ollama/kept stayed: it is pinned" in text
    assert "ollama/new is wanted (needs 10.0 GiB of gpu:0)" in text


def test_a_plan_that_cannot_work_says_what_is_missing_and_that_nobody_left() -> None:
    text = "\n".join(of_plan(plan(WORLD, POLICY, demand("new", 20))))
    assert "still missing: 8.0 GiB of gpu:0" in text
    assert "nobody was unloaded" in text


def test_a_plan_for_a_pool_that_cannot_be_read_says_why_it_cannot() -> None:
    dark = replace(WORLD, pools=(), blind={GPU: "Xid 79: reboot the machine"})
    text = "\n".join(of_plan(plan(dark, POLICY, demand("new", 2))))
    assert "still missing: 2.0 GiB of gpu:0\ngpu:0 cannot be read: Xid 79: reboot" in text


def _decision() -> dict[str, object]:
    made = plan(WORLD, POLICY, demand("new", 10))
    action = Evict(ref("old"), (share(8),), Why.MAKES_ROOM)
    judged = Judgement(Verdict.RECOVERED, gib(8), gib(7.5), gone=True)
    outcome = Outcome("d-000001", 0.0, action, Result.DONE, "", Seconds(1.25), judged)
    decision = Decision("d-000001", 0.0, Mode.ENFORCE, "asked to load ollama/new", made)
    return decision_row(decision, [outcome])


def test_a_decision_is_told_with_what_came_of_it() -> None:
    lines = tell(_decision())
    assert lines[0] == "d-000001: asked to load ollama/new"
    assert lines[-1] == "unload ollama/old: done, recovered: 7.5 GiB of 8.0 GiB came back, in 1.2 s"


def test_why_says_where_a_model_is_and_what_keeps_it() -> None:
    lines = why(ref("kept"), WORLD, POLICY, [_decision()])
    assert lines[0].startswith("ollama/kept is loaded and holds 4.0 GiB of gpu:0; idle for 9.0 s")
    assert "it is pinned" in lines[1]
    assert any("stayed: it is pinned" in line for line in lines[2:])


def test_why_says_when_the_idle_watchdog_will_come() -> None:
    policy = replace(NO_RESERVE, watchdog=Watchdog(True, Seconds(900), False, Seconds(1)))
    assert any("in 5 min" in line for line in why(ref("old"), WORLD, policy, []))


def test_why_tells_of_a_model_that_has_left() -> None:
    gone = replace(WORLD, residents=WORLD.residents[1:])
    lines = why(ref("old"), gone, POLICY, [_decision()])
    assert "not known to any engine" in lines[0]
    assert any("7.5 GiB of 8.0 GiB came back" in line for line in lines)


def test_a_pool_s_lines_are_told_at_the_start() -> None:
    (room,) = rooms(machine(free=10), reserve(2))
    policy = replace(reserve(2), restore_margin=gib(0.25))
    assert of_room(room, lines_of(pool(free=10), policy)) == (
        "gpu:0: 10.0 GiB of 24.0 GiB free, reserve 2.0 GiB: relief below 2.0 GiB for 10 s, "
        "below 1.0 GiB at once, up to 2.2 GiB"
    )


def test_sizes_and_times_are_for_people() -> None:
    assert [size(n) for n in (0, 1023, 1536, gib(5.6), gib(2000))] == [
        "0 B",
        "1023 B",
        "1.5 KiB",
        "5.6 GiB",
        "2000.0 GiB",
    ]
    assert size(Bytes(-(1 << 20))) == "-1.0 MiB"
    assert [duration(s) for s in (0.84, 41, 599.9, 720, 12000)] == [
        "0.8 s",
        "41 s",
        "10 min",
        "12 min",
        "3 h 20 min",
    ]
    assert [duration(s) for s in (7169, 7199.9)] == ["119 min", "2 h 0 min"]
