"""`ullage replay` and `ullage savings`, as people and scripts see them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from supervisor.journal.journal import Journal
from supervisor.journal.trail import Passed
from tests.builders import ref
from tests.canned import running as daemon_with
from tests.canned import ullage
from tests.replay.traces import SHIPPED
from tests.web.fakes import World, running, site

SMALL = """arrival_s,model,service_s,size_bytes,load_s
0,a,1,4000,1
10,b,1,4000,2
20,c,1,4000,5
30,a,1,4000,1
40,b,1,4000,2
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.csv"
    path.write_text(SMALL)
    return path


def test_it_prints_what_each_policy_pays_next_to_the_oracle(small: Path) -> None:
    found = ullage("replay", str(small), "--policy", "lru,single_model", "--capacity", "8kB")
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[0] == "small: 5 requests for 3 models in 7.8 KiB, one after another"
    rows = {line.split("  ")[0]: line.split() for line in lines[2:5]}
    assert rows["the oracle"][2:5] == ["4", "9.0", "s"]
    assert rows["lru"][1:4] == ["5", "11", "s"]
    assert rows["lru"][-2:] == ["0", "1.22"]
    assert rows["single_model"][1] == "5"
    assert lines[-1] == "There is no better schedule than the oracle's."
    assert len({len(line) for line in lines[1:3]}) <= 2


def test_on_a_host_the_waits_are_those_of_queues(small: Path) -> None:
    words = ("replay", str(small), "--policy", "value", "--capacity", "8kB", "--host", "--json")
    found = json.loads(ullage(*words).stdout)
    (row,) = found["policies"]
    assert found["setting"] == "host"
    assert row["wait_s"]["longest"] == 6.0  # 1 s until the other is unloaded, and 5 to load
    assert row["refused"] == 0


def test_json_has_everything_that_the_table_has(small: Path) -> None:
    found = json.loads(ullage("replay", str(small), "--policy", "value,lru", "--json",
                              "--capacity", "8kB").stdout)  # fmt: skip
    assert (found["trace"], found["requests"], found["models"]) == ("small", 5, 3)
    assert found["oracle"] == {"cold_starts": 4, "reload_s": 9.0, "exact": True}
    assert [p["policy"] for p in found["policies"]] == ["value", "lru"]
    assert found["policies"][1]["times_oracle"] == 1.2222
    assert found["policies"][1]["wait_s"]["p50"] == 2.0


def test_what_a_policy_refuses_is_counted(small: Path) -> None:
    found = ullage("replay", str(small), "--policy", "lru", "--capacity", "3999", "--json")
    (row,) = json.loads(found.stdout)["policies"]
    assert (row["refused"], row["cold_starts"], row["times_oracle"]) == (5, 0, None)
    assert "5" in ullage("replay", str(small), "--policy", "lru", "--capacity", "3999").stdout


def test_the_shipped_traces_can_be_replayed_by_seed_and_ratio() -> None:
    words = ("replay", str(SHIPPED / "azfn19-32.csv.gz"), "--policy", "lru_plain", "--json")
    found = json.loads(ullage(*words, "--ratio", "1.5", "--seed", "2").stdout)
    assert found["capacity"] == 541333333333
    assert found["policies"][0]["reload_s"] == 1496.1


def test_a_plot_is_written_as_svg_and_as_nothing_else(small: Path, tmp_path: Path) -> None:
    picture = tmp_path / "p.svg"
    words = ("replay", str(small), "--policy", "value,lru", "--capacity", "8kB", "--plot")
    assert ullage(*words, str(picture)).exit_code == 0
    assert picture.read_text().startswith("<svg")
    refused = ullage(*words, str(tmp_path / "p.png"))
    assert refused.exit_code == 2
    assert "name it p.svg" in refused.stderr
    nowhere = ullage(*words, str(tmp_path / "none" / "p.svg"))
    assert nowhere.exit_code == 2
    assert "cannot be written" in nowhere.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "say which TRACE"),
        (("{small}", "--policy", "lruu"), "none is called 'lruu'; there are value, lru"),
        (("{small}", "--policy", ","), "name at least one"),
        (("{small}", "--capacity", "8kB", "--ratio", "2"), "leave one out"),
        (("{small}", "--capacity", "many"), "is not a size"),
        (("{small}", "--capacity", "0"), "nothing to hold a model in"),
        (("{small}", "--seed", "4"), "no sizes of seed 4; there are 0"),
        (("{small}", "--ratio", "0"), "0.01"),
        (("none.csv",), "none.csv: No such file"),
        (("--journal", "none.db"), "none.db: there is no such file"),
        (("--journal", "{small}"), "file is not a database"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_replayed(
    small: Path, words: tuple[str, ...], told: str
) -> None:
    found = ullage("replay", *(w.format(small=small) for w in words))
    assert found.exit_code == 2
    assert told in " ".join(found.stderr.split())
    assert found.stdout == ""


def test_a_broken_trace_is_told_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(SMALL + "5,a,1,4000,1\n50,a,1,,1\n")
    found = ullage("replay", str(path))
    assert found.exit_code == 2
    assert f"{path}:7: arrival_s goes back" in found.stderr
    assert f"{path}:8: size_bytes is missing" in found.stderr


def test_it_says_what_policies_there_are() -> None:
    lines = ullage("replay", "--policy", "help").stdout.splitlines()
    assert lines[0].startswith("value   ")
    assert any(line.startswith("ollama_like") for line in lines)


def test_the_journal_s_own_history_can_be_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.open()
    a, b = ref("a"), ref("b")
    rows = [Passed(1000.0 + i, (a, b)[i % 2], load=5.0, size=100) for i in range(6)]  # type: ignore[arg-type]
    journal.trail.add([*rows, Passed(2000.0, ref("unknown"))])
    assert journal.flush()
    words = ("replay", "--journal", "--policy", "lru", "--capacity", "100", "--json")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))  # while the daemon runs, too
    found = ullage(*words)
    journal.close()
    assert json.loads(found.stdout)["policies"][0]["cold_starts"] == 6
    assert "left out: 1 requests" in found.stderr


def test_the_journal_is_looked_for_where_the_configuration_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ullage.toml").write_text(f'state_dir = "{tmp_path}/elsewhere"')
    found = ullage("replay", "--journal")
    assert (found.exit_code, f"{tmp_path}/elsewhere/journal.db" in found.stderr) == (2, True)
    Path("ullage.toml").write_text("state_dri = 1")
    wrong = ullage("replay", "--journal")
    assert (wrong.exit_code, "did you mean state_dir?" in wrong.stderr) == (3, True)


def test_a_journal_without_requests_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db")
    journal.open()
    journal.close()
    found = ullage("replay", "--journal", str(tmp_path / "journal.db"))
    assert found.exit_code == 2
    assert "nothing to replay" in found.stderr


# -- savings


def asked(query: str) -> httpx.Response:
    async def told() -> httpx.Response:
        world = World()
        here = site(world)
        now = here.loop.wall()
        rows = [Passed(now - 600 + i, ref("qwen3:8b"), load=9.0) for i in range(3)]  # type: ignore[arg-type]
        here.loop.journal.trail.add(rows)
        async with running(here) as http:
            return await http.get(f"/api/v1/savings?{query}")

    return asyncio.run(told())


def test_the_savings_are_told_in_seconds_and_in_sentences() -> None:
    reply = asked("days=1")
    assert reply.status_code == 200
    found: dict[str, Any] = reply.json()
    assert (found["loads"], found["paid_s"]) == (3, 27.0)
    assert found["until"] - found["since"] == pytest.approx(86400)
    assert set(found["ghosts"]) == {"value", "lru", "landlord"}
    assert asked("").json()["until"] - asked("").json()["since"] == pytest.approx(7 * 86400)


@pytest.mark.parametrize("days", ["0", "-1", "31", "nan", "week"])
def test_days_that_there_are_none_of_are_refused(days: str) -> None:
    reply = asked(f"days={days}")
    assert reply.status_code == 422
    assert f'days: a number from 0.001 to 30, not "{days}"' in reply.json()["detail"]


def test_the_command_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon_with() as daemon:
        monkeypatch.setenv("ULLAGE_URL", daemon.address)
        daemon.say("/api/v1/savings", {"sentences": ["You paid 412 s.", "LRU\x1b[2J 540 s."]})
        found = ullage("savings", "--days", "3")
        assert found.exit_code == 0
        assert found.stdout == "You paid 412 s.\nLRU\\x1b[2J 540 s.\n"
        assert '"sentences"' in ullage("savings", "--json").stdout
        assert ullage("savings", "--days", "0").exit_code == 2
        assert ullage("savings", "--days", "40").exit_code == 2
