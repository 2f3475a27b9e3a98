"""What outlives the daemon: over restarts, over a restart of the machine, over a set clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collectors.reading import Bytes, PoolId, Process, Seconds, gib
from supervisor.core.plan import Evict, Why
from supervisor.core.policy import FOREVER, EnginePolicy, ModelPolicy, Policy, Retention
from supervisor.core.record import Outcome, Result
from supervisor.core.snapshot import EngineId, EngineState
from supervisor.fetching import how
from supervisor.journal.journal import Journal
from supervisor.keeping.deadlines import Deadlines, boot
from supervisor.keeping.farewells import Farewells
from supervisor.keeping.keeping import Keeping
from supervisor.keeping.leases import Leases
from supervisor.keeping.reserved import Reserved
from supervisor.keeping.retentions import HOST, Wish
from tests.builders import ref

POOL = PoolId("gpu:0")


class Time:
    """A machine's clocks: `boot` names its run, `wall` may be set."""

    def __init__(self) -> None:
        self.clock, self.wall, self.boot = 100.0, 1_790_000_000.0, "first"

    def passes(self, seconds: float) -> None:
        self.clock += seconds
        self.wall += seconds

    def restarts(self, seconds: float) -> None:
        """The machine, which takes that long."""
        self.wall += seconds
        self.clock, self.boot = 7.0, "second"

    def keeping(self, file: Path | None, given: Policy | None = None) -> Keeping:
        """Of a daemon that is started now."""
        journal = Journal(file, lambda: self.wall)
        journal.open()
        found = Keeping(
            journal,
            given or Policy(),
            lambda: self.clock,
            lambda: self.wall,
            lambda: self.boot,
        )
        found.recall(found.given)
        return found


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def kept(time: Time, file: Path) -> Keeping:
    """A pin, a lease and a reservation of an hour each, by a daemon that has ended since."""
    first = time.keeping(file)
    first.pins.set("m", Seconds(time.clock + 3600))
    first.leases.open(ref("m"), "agent", Seconds(3600))
    job = first.reserved.ask("train", POOL, gib(8), Seconds(3600), [44])
    first.reserved.grant(job.id)
    return first


def left(keeping: Keeping) -> list[float]:
    """Seconds that each of the three has left."""
    now = keeping.deadlines.now
    ends = [*keeping.pins.ends.values(), *(e.expires_at for e in keeping.leases.all)]
    return [round(e - now, 2) for e in (*ends, *(j.ends for j in keeping.reserved.all))]


def test_a_clock_that_is_set_while_the_daemon_runs_changes_nothing(file: Path) -> None:
    time = Time()
    keeping = kept(time, file)
    time.passes(600)
    time.wall += 86400  # somebody sets the clock to tomorrow
    keeping._lapse(keeping.deadlines.now)
    assert left(keeping) == [3000] * 3
    keeping.journal.close()
    assert left(time.keeping(file)) == [3000] * 3  # nor over a restart of the daemon


def test_a_clock_that_is_set_back_while_no_daemon_runs_changes_nothing_either(file: Path) -> None:
    time = Time()
    kept(time, file).journal.close()
    time.passes(600)
    time.wall -= 86400 * 365
    assert left(time.keeping(file)) == [3000] * 3


def test_over_a_restart_of_the_machine_unix_time_counts(file: Path) -> None:
    time = Time()
    kept(time, file).journal.close()
    time.restarts(600)
    again = time.keeping(file)
    assert left(again) == [3000] * 3
    assert again.reserved.all[0].pids == frozenset()  # whoever has that number now is another


def test_a_machine_whose_clock_is_behind_when_it_starts_makes_nothing_last_longer(
    file: Path,
) -> None:
    """As one without a battery has it, until it has asked somebody for the time."""
    time = Time()
    kept(time, file).journal.close()
    time.restarts(600 - 8 * 3600)
    again = time.keeping(file)
    assert left(again) == [3600] * 3
    time.passes(30)
    again.journal.close()
    again = time.keeping(file)  # the daemon is started anew, and the clock is still behind
    assert left(again) == [3570] * 3
    time.passes(30)
    time.wall += 8 * 3600
    again.rewrite()
    assert left(again) == [3540] * 3
    again.journal.close()
    assert left(time.keeping(file)) == [3540] * 3


def test_a_clock_that_was_set_before_the_machine_restarts_is_the_one_that_counts(
    file: Path,
) -> None:
    time = Time()
    keeping = kept(time, file)
    time.wall += 86400
    keeping.rewrite()  # the daemon noticed
    keeping.journal.close()
    time.restarts(600)
    assert left(time.keeping(file)) == [3000] * 3


def test_what_has_run_out_meanwhile_is_not_in_force_for_a_moment(file: Path) -> None:
    time = Time()
    kept(time, file).journal.close()
    time.passes(3601)
    again = time.keeping(file)
    assert left(again) == []
    assert again.over(Policy()).pinned == frozenset()
    assert set(again.pins.lapsed) == {"m"}
    again.journal.close()
    assert time.keeping(file).journal.shelves["leases"].all() == {}


@pytest.mark.parametrize("shelf", ["pins", "leases", "reservations", "retention"])
@pytest.mark.parametrize("body", [{}, {"ends": 3}, {"ends": {"boot": None}}, {"model": 7}])
def test_what_cannot_be_read_back_stops_nothing(file: Path, shelf: str, body: Any) -> None:
    time = Time()
    first = time.keeping(file)
    first.journal.shelves[shelf].keep("x", body)
    first.journal.close()
    again = time.keeping(file)
    assert again.leases.all == again.reserved.all == ()
    assert again.over(Policy()).pinned == ({"x"} if shelf == "pins" else frozenset())


def test_this_machine_has_a_name_for_its_run_or_none() -> None:
    assert boot() is None or boot() == boot()
    moment = Deadlines(lambda: 5.0, lambda: 50.0, lambda: None)
    assert moment.read(moment.written(Seconds(9.0))) == 9
    assert (moment.after(Seconds(2)), moment.unix(Seconds(6)), moment.at(52.0)) == (7, 51, 7)


# -- retentions


GIVEN = Policy(
    keep_alive=Seconds(9),
    engines={EngineId("ollama"): EnginePolicy(keep_alive=Seconds(60), max_active=2)},
    models={"m": ModelPolicy(pinned=True)},
)


def test_a_retention_takes_the_place_of_all_that_is_configured_for_its_scope(file: Path) -> None:
    time = Time()
    keeping = time.keeping(file, GIVEN)
    wishes = keeping.retentions
    assert keeping.over(GIVEN) == GIVEN
    wishes.set("model ollama/m", Wish(Retention.ON_DEMAND))
    found = keeping.over(GIVEN)
    assert found.retention_of(ref("m")) is Retention.ON_DEMAND
    assert found.retention_of(ref("m", "other")) is Retention.PINNED
    wishes.set("model m", Wish(Retention.KEEP_ALIVE, FOREVER))
    wishes.set("engine ollama", Wish(Retention.KEEP_ALIVE, Seconds(5)))
    wishes.set(HOST, Wish(Retention.ON_DEMAND))
    found = keeping.over(GIVEN)
    assert not found.is_pinned(ref("m", "other"))
    assert found.idle_timeout_of(ref("m", "other")) is None
    assert found.idle_timeout_of(ref("n")) == 5
    assert found.engines[EngineId("ollama")].max_active == 2
    assert found.goes_unused(ref("n", "other"))
    keeping.journal.close()
    again = time.keeping(file, GIVEN)
    assert again.over(GIVEN) == found
    for scope in ("model ollama/m", "model m", "engine ollama", HOST):
        assert again.retentions.drop(scope)
    found = again.over(found)
    assert found.retention_of(ref("m")) is Retention.PINNED
    assert (found.idle_timeout_of(ref("n")), found.keep_alive) == (60, 9)


# -- jobs


def test_a_job_is_its_processes_and_all_that_they_start(file: Path) -> None:
    def process(pid: int, parent: int) -> Process:
        return Process(pid, parent, "p", Bytes(0), Bytes(0))

    reserved = Reserved(Journal(None).shelves["x"], Deadlines())
    job = reserved.grant(reserved.ask("t", POOL, gib(1), Seconds(60), [5]).id)
    reserved.see((process(1, 0), process(5, 1), process(6, 5), process(7, 6), process(8, 1)))
    assert reserved.reservations[0].pids == {5, 6, 7}
    reserved.see((process(1, 0), process(7, 1), process(8, 1)))  # its parents have ended
    assert reserved.reservations[0].pids == {5, 7}
    reserved.see(())  # nobody could list them
    assert reserved.all == (job,)
    reserved.see((process(1, 0), process(8, 1)))
    assert reserved.all == ()


def test_a_job_that_ends_while_no_daemon_runs_is_over(file: Path) -> None:
    def process(pid: int, parent: int) -> Process:
        return Process(pid, parent, "p", Bytes(0), Bytes(0))

    time = Time()
    first = kept(time, file)
    first.reserved.see((process(1, 0), process(44, 1), process(45, 44)))
    first.journal.close()
    again = time.keeping(file)
    again.reserved.see((process(1, 0), process(45, 1)))  # what it has started goes on
    assert len(again.reserved.all) == 1
    again.journal.close()
    last = time.keeping(file)
    last.reserved.see((process(1, 0),))
    assert last.reserved.all == ()


def test_a_job_whose_processes_were_never_seen_keeps_its_bytes() -> None:
    reserved = Reserved(Journal(None).shelves["x"], Deadlines())
    reserved.grant(reserved.ask("t", POOL, gib(1), Seconds(60), [5]).id)
    reserved.see((Process(1, 0, "p", Bytes(0), Bytes(0)),))
    assert len(reserved.all) == 1


def test_a_lease_keeps_its_time_to_live_when_it_is_renewed() -> None:
    time = Time()
    deadlines = Deadlines(lambda: time.clock, lambda: time.wall, lambda: time.boot)
    leases = Leases(Journal(None).shelves["x"], deadlines)
    lease = leases.open(ref("m"), "agent", Seconds(30))
    time.passes(10)
    renewed = leases.renew(lease.id)
    assert renewed is not None
    assert (renewed.expires_at, renewed.opened_at) == (140, 100)
    longer = leases.renew(lease.id, Seconds(300))
    assert longer is not None
    assert (longer.expires_at, leases.ttl_of(lease.id)) == (410, 300)
    assert leases.renew("l-nobody") is None


# -- who is told to go


def test_whoever_only_sleeps_when_it_is_told_to_go_has_gone() -> None:
    farewells = Farewells(Journal(None).shelves["x"])
    farewells.begin(ref("m"), 1.0, 2)
    action = Evict(ref("m"), (), Why.ASKED)
    farewells.tell(Outcome("d-1", 1.0, action, Result.FAILED))
    assert farewells.all == {ref("m")}
    farewells.tell(Outcome("d-1", 1.0, action, Result.DONE))
    assert farewells.all == frozenset()


# -- what to do first


def test_what_would_bring_a_model_here_is_said_in_its_engine_s_words() -> None:
    def engine(id: str, kind: str, fault: str | None = None) -> EngineState:
        return EngineState(EngineId(id), kind, "", fault=fault)

    ollama, docker, llama = engine("o", "ollama"), engine("d", "dmr"), engine("l", "llamacpp")
    assert how("x y", [ollama, llama]) == "have it fetched first: `ollama pull 'x y'`"
    assert "`docker model pull x` or `ollama pull x`" in how("x", [ollama, docker])
    assert how("o/x", [ollama, docker]) == "have it fetched first: `ollama pull x`"
    assert how("x", [llama]) == "give it to l first, as its documentation says"
    assert how("x", [engine("o", "ollama", "down")]) == ""


def test_a_lease_that_ends_while_its_client_waits_to_hear_of_it_can_still_be_told() -> None:
    leases = Leases(Journal(None).shelves["x"], Deadlines())
    lease = leases.open(ref("m"), "agent", Seconds(30))
    leases.close(lease.id)
    assert leases.ttl_of(lease.id) == 0
