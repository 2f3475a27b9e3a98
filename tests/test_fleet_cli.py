"""`ullage fleet`: what the agent of this host answers, and this host alone where there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner, Result
from rich.cells import cell_len

from supervisor.cli import show_fleet
from supervisor.cli.bars import Screen
from supervisor.cli.main import cli

from .desk import Answers, Desk, serving

GIB = 1024**3


def housed(name: str, ready: bool = False, **more: Any) -> dict[str, Any]:
    status = "loaded" if ready else "local"
    return {"name": name, "engine": "ollama", "status": status, "ready": ready, "size": 6 * GIB,
            "in_flight": 0, "waiting": 0, "slots": 4} | more  # fmt: skip


def host(name: str, *models: Any, heard: float = 99.0, presence: str = "here", **more: Any) -> Any:
    word = {"host": name, "epoch": "e", "number": 7, "version": "1.2.3", "wall": 1.0,
            "address": f"http://{name}:8553", "models": list(models), "rests": None,
            "spaces": [{"pool": "GPU-5a1e0001", "total": 24 * GIB, "free": 9 * GIB,
                        "headroom": 8 * GIB},
                       {"pool": "ram", "total": 64 * GIB, "free": 50 * GIB,
                        "headroom": 40 * GIB}]} | more  # fmt: skip
    return {"word": word, "heard": heard, "presence": presence}


FLEET = {
    "self": "gpu1",
    "backend": "ray",
    "connected": True,
    "trouble": ["the clock of gpu3 is 1 h 2 min ahead"],
    "directory": {
        "at": 100.0,
        "hosts": [
            host("gpu1", housed("qwen3:8b", True, in_flight=2), housed("gemma3:4b")),
            host("gpu2", housed("qwen3:8b"), heard=96.5, presence="silent"),
            host("gpu3", housed("phi", True), presence="lost", heard=40.0),
            host("gpu4", housed("gemma3:4b", status="loading"), rests="it is drained",
                 presence="drained", spaces=[], address=None),
        ],
        "promises": [{"id": "p1", "model": "gemma3:4b", "host": "gpu4", "size": 3 * GIB,
                      "until": 107.5, "members": ["gpu4", "gpu1"]}],
    },
}  # fmt: skip
WORD = FLEET["directory"]["hosts"][0]["word"]
PLACED = {
    "host": "gpu2", "address": "http://gpu2:8553", "model": "ollama/qwen3:8b", "ready": False,
    "placement": "p1", "sentences": ["qwen3:8b goes to gpu2"],
    "notes": [{"host": "gpu1", "why": "overloaded"}],
}  # fmt: skip


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Desk]:
    answers: Answers = {
        ("GET", "/fleet"): (200, FLEET),
        ("POST", "/place"): (200, PLACED),
        ("POST", "/drain"): (200, {}),
        ("DELETE", "/drain"): (200, {}),
        ("GET", "/why"): (200, {"placements": []}),
    }
    with serving(tmp_path / "fleet.sock", answers) as desk:
        yield desk


def ask(desk: Desk | None, *words: str, **environ: str) -> Result:
    where = {} if desk is None else {"ULLAGE_FLEET_SOCKET": str(desk.path)}
    return CliRunner().invoke(cli, ["fleet", *words], env=where | environ)


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


WIDE = Screen(width=140)


# -- what is shown


def test_the_status_has_ledger_and_headroom_side_by_side_and_what_is_wrong() -> None:
    page = show_fleet.status(FLEET, WIDE)
    head, _, *rows = page.splitlines()
    assert head == "Fleet by ray  4 hosts  this is gpu1"
    table = {row.split()[0]: " ".join(row.split()) for row in rows if row.startswith("gpu")}
    assert table["gpu1"] == "gpu1 here 1.0 s 8 GiB 0 B 1 2 0"
    assert table["gpu2"] == "gpu2 silent 3.5 s 8 GiB 0 B 0 0 0"
    assert table["gpu4"] == "gpu4 drained 1.0 s - 3 GiB 0 0 0"
    assert "promised: 3 GiB of gpu4 for gemma3:4b, with gpu1, 7.5s left" in page
    assert "the clock of gpu3 is 1 h 2 min ahead" in page


def test_the_hosts_have_every_pool_and_say_who_takes_no_requests() -> None:
    page = show_fleet.hosts(FLEET, WIDE)
    rows = lines(page)
    assert ["gpu1", "here", "GPU-5a1e0001", "24", "GiB", "9", "GiB", "8", "GiB", "0", "B"] in rows
    assert ["ram", "64", "GiB", "50", "GiB", "40", "GiB"] in rows
    assert "gpu4  no address: other hosts send it no requests" in page
    assert "nothing is placed there: it is drained" in page


def test_the_models_say_where_each_is_ready_and_where_it_could_be() -> None:
    rows = {row[0]: row[1:] for row in lines(show_fleet.models(FLEET, WIDE))}
    assert rows["qwen3:8b"] == ["6", "GiB", "gpu1", "gpu2", "2", "0"]
    assert rows["gemma3:4b"] == ["6", "GiB", "-", "gpu4", "(loading),", "gpu1", "0", "0"]
    assert "phi" not in rows  # nobody can be sent to a host that is lost


SPANS = [
    {"name": "big:400b", "state": "loading", "leader": None, "doing": "gpu2 loads its part",
     "parts": [{"host": "gpu1", "model": "llama/big:400b", "leads": True, "status": "local",
                "presence": "here"},
               {"host": "gpu2", "model": "rpc/part", "leads": False, "status": "loading",
                "presence": "lost"}]},
]  # fmt: skip


def test_models_that_span_hosts_are_shown_with_every_part() -> None:
    page = show_fleet.models(FLEET | {"spans": SPANS}, WIDE)
    rows = lines(page)
    assert ["SPANS", "HOSTS", "STATE", "HOST", "LEADS", "PART", "THERE"] in rows
    first, second = (line for line in page.splitlines() if "rpc/" in line or "llama/" in line)
    assert " ".join(first.split()) == ("big:400b gpu2 loads its part gpu1 yes llama/big:400b local")
    assert second.split() == ["gpu2", "rpc/part", "lost"]
    assert "SPANS HOSTS" not in show_fleet.models(FLEET | {"spans": []}, WIDE)


def test_without_the_connection_it_is_said_that_all_of_it_is_old() -> None:
    page = show_fleet.status(FLEET | {"connected": False}, WIDE)
    assert "not connected: as it was last heard" in page


def test_names_that_a_terminal_would_act_on_are_shown_as_text() -> None:
    odd = FLEET | {"directory": FLEET["directory"] | {"hosts": [host("\x1b[2J", housed("\x07"))]}}
    for page in (show_fleet.status, show_fleet.hosts, show_fleet.models):
        assert "\x1b" not in page(odd, WIDE)
        assert "\x07" not in page(odd, WIDE)


LONG = "rack-17-of-the-north-hall-second-row-gpu-node-with-a-long-name0"
HELD = [
    {"pool": "GPU-5a1e0001", "total": 1463 * GIB // 10, "free": 1234 * GIB // 10,
     "headroom": -1023 * GIB // 10},
    {"pool": "ram", "total": 20117 * GIB // 10, "free": 10239 * GIB // 10,
     "headroom": 9999 * GIB // 10},
]  # fmt: skip
CROWD = FLEET | {
    "trouble": ["the clock of gpu3 is 60 min ahead of this host's: set both by NTP. Only times that"
                " are shown are wrong by it"],
    "directory": {
        "at": 4000.0,
        "hosts": [
            host(LONG, *(housed(f"m{n}", n < 3, in_flight=100, waiting=1000) for n in range(9)),
                 heard=3999.0, spaces=HELD, rests="it has no pool that can be read"),
            host("機械-一-\x1b[2J", housed("m1", True), heard=10.0, presence="lost", spaces=HELD),
            host("x" * 900, housed("y" * 900), heard=3996.0, presence="silent", spaces=HELD),
        ],
        "promises": [
            {"id": "p", "model": "y" * 900, "host": LONG, "size": 1234 * GIB // 10,
             "until": 4009.0, "members": [LONG, "x" * 900]},
            {"id": "p", "model": "y" * 900, "host": LONG, "size": 0, "until": 4009.0,
             "members": [LONG]},
            {"id": "q", "model": "m1", "host": LONG, "size": 0, "until": 4003.0, "members": [LONG]},
        ],
    },
}  # fmt: skip


@pytest.mark.parametrize("page", [show_fleet.status, show_fleet.hosts, show_fleet.models])
def test_on_80_columns_names_fold_and_no_number_is_cut(page: Callable[..., str]) -> None:
    text = page(CROWD, Screen(width=80))
    assert max(map(cell_len, text.splitlines())) <= 80
    assert "\x1b" not in text
    numbers = {
        show_fleet.status: ["-102.3 GiB", "123.4 GiB", "1h6m", "900", "9000"],
        show_fleet.hosts: [
            "146.3 GiB",
            "123.4 GiB",
            "-102.3 GiB",
            "2 TiB",
            "1023.9 GiB",
            "999.9 GiB",
        ],
        show_fleet.models: ["6 GiB", "1000"],
    }[page]
    assert [n for n in numbers if n not in text] == []
    for head in text.splitlines()[2 if page is show_fleet.status else 0].split("  "):
        assert "…" not in head


def test_what_is_on_its_way_is_told_once_and_a_sentence_goes_on_further_in() -> None:
    page = show_fleet.status(CROWD, WIDE)
    assert page.count("promised: ") == 1
    assert f"on its way: m1 to {LONG}, for 3s at most" in page
    assert f"nothing is placed on {LONG}: it has no pool that can be read" in page
    narrow = show_fleet.status(CROWD, Screen(width=80)).splitlines()
    (at,) = (i for i, line in enumerate(narrow) if line.startswith("the clock of gpu3"))
    assert narrow[at + 1].startswith("    ")


def test_many_hosts_of_a_model_are_counted() -> None:
    many = [host(f"h{n}", housed("phi", True)) for n in range(9)]
    page = show_fleet.models(FLEET | {"directory": FLEET["directory"] | {"hosts": many}}, WIDE)
    assert "h0, h1, h2, h3, 5 more" in page


# -- asked


@pytest.mark.parametrize("page", ["status", "hosts", "models"])
def test_the_agent_is_asked_over_its_socket(agent: Desk, page: str) -> None:
    found = ask(agent, page)
    assert found.exit_code == 0, found.output
    assert "gpu1" in found.output
    assert json.loads(ask(agent, page, "--json").output) == FLEET
    assert [a[:2] for a in agent.asked] == [("GET", "/fleet")] * 2


def test_the_socket_may_be_said_or_stand_in_the_configuration(agent: Desk, tmp_path: Path) -> None:
    assert ask(None, "status", "--agent", str(agent.path)).exit_code == 0
    file = tmp_path / "ullage.toml"
    file.write_text(f'[fleet]\nname = "gpu1"\nsocket = "{agent.path}"\n')
    assert ask(None, "status", ULLAGE_CONFIG=str(file)).exit_code == 0
    assert len(agent.asked) == 2


def test_a_configuration_with_mistakes_does_not_end_a_look(agent: Desk, tmp_path: Path) -> None:
    file = tmp_path / "ullage.toml"
    file.write_text("mood = 3\n")
    (tmp_path / "state").mkdir()
    found = ask(None, "place", "x", ULLAGE_CONFIG=str(file), HOME=str(tmp_path))
    assert found.exit_code == 4  # there is no agent where it would be without one
    assert "no agent of a fleet answers here" in found.output


def test_without_an_agent_this_host_is_shown_alone_and_how_to_join(tmp_path: Path) -> None:
    answers: Answers = {("GET", "/api/v1/fleet/word"): (200, WORD)}
    with serving(tmp_path / "ullage.sock", answers) as daemon:
        nobody = str(tmp_path / "nobody.sock")
        words = ["--agent", nobody, "--socket", str(daemon.path)]
        found = ask(None, "status", *words)
        assert found.exit_code == 0, found.output
        assert found.output.startswith("This host alone: gpu1")
        assert "`ullage fleet join` joins one" in found.output
        document = json.loads(ask(None, "hosts", "--json", *words).output)
        assert (document["backend"], document["connected"]) == ("single", False)
        assert document["directory"]["hosts"] == [{"word": WORD, "heard": 0.0, "presence": "here"}]


def test_without_an_agent_and_without_a_daemon_it_is_exit_code_4(tmp_path: Path) -> None:
    found = ask(None, "status", "--agent", str(tmp_path / "a"), "--socket", str(tmp_path / "b"))
    assert found.exit_code == 4
    assert "no daemon answers" in found.output


@pytest.mark.parametrize(
    "words",
    [("place", "phi"), ("drain", "gpu2"), ("undrain", "gpu2"), ("why",)],
    ids=lambda words: words[0],
)
def test_nothing_is_done_for_a_fleet_that_is_not_there(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    found = ask(None, *words, "--agent", str(tmp_path / "nobody.sock"))
    assert found.exit_code == 4
    assert "no agent of a fleet answers here" in found.output
    assert "ullage fleet join" in found.output


@pytest.mark.parametrize("words", [("status",), ("place", "phi")], ids=lambda words: words[0])
def test_a_socket_that_may_not_be_opened_is_not_called_no_fleet(
    agent: Desk, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("socket.socket.connect", denied)
    found = ask(agent, *words)
    assert found.exit_code == 4
    assert "the agent's socket may not be opened" in found.output
    assert "listen.socket_group" in found.output
    assert "join" not in found.output


# -- placed


def test_a_place_is_asked_for_and_told(agent: Desk) -> None:
    found = ask(agent, "place", "qwen3:8b", "--dry-run", "--within", "30s", "--avoid", "gpu3")
    assert found.output == "qwen3:8b goes to gpu2\nits gateway: http://gpu2:8553\n"
    body = {"model": "qwen3:8b", "dry": True, "within": 30.0, "avoid": ["gpu3"]}
    assert agent.asked == [("POST", "/place", body)]
    assert json.loads(ask(agent, "place", "qwen3:8b", "--json").output) == PLACED


def test_without_sentences_each_host_has_its_line(agent: Desk) -> None:
    agent.answers["POST", "/place"] = (200, PLACED | {"sentences": []})
    found = ask(agent, "place", "qwen3:8b")
    assert "gpu1: overloaded" in found.output


@pytest.mark.parametrize(("status", "code"), [(409, 5), (404, 6), (422, 2), (503, 1)])
def test_what_is_not_placed_ends_with_its_own_exit_code(
    agent: Desk, status: int, code: int
) -> None:
    said = ["nobody can have it now", "gpu1 has no room for it"]
    problem = {"code": "queued", "detail": said[0], "sentences": said, "notes": [],
               "closest": ["qwen3:8b"]}  # fmt: skip
    agent.answers["POST", "/place"] = (status, problem)
    found = ask(agent, "place", "qwen3")
    assert found.exit_code == code
    assert found.output.count(said[0]) == 1
    assert "gpu1 has no room for it" in found.output
    assert "did you mean qwen3:8b?" in found.output


def test_a_wrong_time_is_told_before_anything_is_asked(agent: Desk) -> None:
    found = ask(agent, "place", "x", "--within", "soon")
    assert (found.exit_code, agent.asked) == (2, [])
    assert "--within" in found.output


# -- drained, and why


def test_a_host_is_drained_for_a_time_and_takes_part_again(agent: Desk) -> None:
    assert "gpu2 is drained" in ask(agent, "drain", "gpu2", "--for", "30m").output
    assert "gpu2 takes part again" in ask(agent, "undrain", "gpu2").output
    assert agent.asked == [
        ("POST", "/drain", {"host": "gpu2", "for": 1800.0}),
        ("DELETE", "/drain?host=gpu2", None),
    ]


def test_the_daemons_own_sentences_are_told_where_it_has_some(agent: Desk) -> None:
    agent.answers["POST", "/drain"] = (200, {"sentences": ["every engine is drained for 30m"]})
    assert ask(agent, "drain", "gpu2").output == "every engine is drained for 30m\n"


def test_why_tells_the_last_placements_with_every_host(agent: Desk) -> None:
    said = ["nobody can have it now", "gpu1 has no room for it"]
    placement = {"id": "ab12", "at": 0.0, "model": "phi", "host": None, "notes": []}
    placement["sentences"] = said
    agent.answers["GET", "/why"] = (200, {"placements": [placement]})
    found = ask(agent, "why", "phi", "-n", "3", TZ="UTC")
    assert "phi → nowhere\n" in found.output
    assert "  gpu1 has no room for it" in found.output
    assert agent.asked == [("GET", "/why?model=phi&limit=3", None)]


def test_what_was_only_asked_for_is_not_told_as_placed(agent: Desk) -> None:
    placement = {"id": "ab12", "at": 0.0, "model": "phi", "host": "gpu1", "notes": [], "dry": True}
    agent.answers["GET", "/why"] = (200, {"placements": [placement | {"sentences": ["x"]}]})
    assert "phi → gpu1  (asked only: --dry-run)\n" in ask(agent, "why").output


def test_without_placements_it_says_so(agent: Desk) -> None:
    assert "Nothing has been placed" in ask(agent, "why").output


# -- completed


@pytest.mark.parametrize(
    ("words", "names"),
    [(["drain"], ["gpu1", "gpu2", "gpu3", "gpu4"]), (["place"], ["gemma3:4b", "qwen3:8b"])],
)
def test_tab_completes_hosts_and_models(
    agent: Desk, monkeypatch: pytest.MonkeyPatch, words: list[str], names: list[str]
) -> None:
    monkeypatch.setenv("ULLAGE_FLEET_SOCKET", str(agent.path))
    shell = ShellComplete(cli, {}, "ullage", "_ULLAGE_COMPLETE")
    assert [i.value for i in shell.get_completions(["fleet", *words], "")] == names
    monkeypatch.setenv("ULLAGE_FLEET_SOCKET", "/nowhere/fleet.sock")
    assert shell.get_completions(["fleet", *words], "") == []


def test_an_agent_of_another_version_is_told_as_such(agent: Desk) -> None:
    agent.answers["GET", "/fleet"] = (200, {"self": "gpu1"})
    found = ask(agent, "status")
    assert found.exit_code == 1
    assert "is of another version" in found.output
