"""Commands that run while something is held for them; the commands that hold, pin and retain."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli import holding
from supervisor.cli import leases as leases_cli
from supervisor.cli.client import TIMEOUT, NoDaemon, Refused
from tests.canned import DONE, Daemon, running, ullage

PYTHON = sys.executable
LEASE = {"id": "l-1", "model": "ollama/a", "client": "me", "left": 41.0}
JOB = {"id": "r-1", "client": "me", "pool": "ram", "size": 2**30, "held": 0, "left": 60.0}


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    monkeypatch.delenv("ULLAGE_TOKEN", raising=False)
    with running() as found:
        monkeypatch.setenv("ULLAGE_URL", found.address)
        yield found


def calls(daemon: Daemon) -> list[str]:
    return [f"{method} {path.removeprefix('/api/v1/')}" for method, path, _, _ in daemon.asked]


def leased(daemon: Daemon) -> None:
    daemon.say("/api/v1/leases", {"ok": True, "lease": LEASE, "sentences": []}, 201)
    daemon.say("/api/v1/leases/l-1/renew", {"lease": LEASE})
    daemon.say("/api/v1/leases/l-1", {"closed": "l-1"})


def reserved(daemon: Daemon) -> None:
    daemon.say("/api/v1/reservations", {"ok": True, "reservation": JOB, "sentences": []}, 201)
    daemon.say("/api/v1/reservations/r-1/renew", {"reservation": JOB})
    daemon.say("/api/v1/reservations/r-1", {"closed": "r-1"})


class Kept:
    """What is held, and what was done with it."""

    every = 0.01

    def __init__(self) -> None:
        self.did: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.pid = 0
        self.on_renewal: Callable[[], None] = lambda: None

    def _do(self, what: str) -> None:
        self.did.append(what)
        if what in self.fails:
            raise self.fails[what]

    def began(self, pid: int) -> None:
        self.pid = pid
        self._do("began")

    def renew(self) -> None:
        self.on_renewal()
        self._do("renew")

    def again(self) -> None:
        self._do("again")

    def close(self) -> None:
        self._do("close")


class Gate:
    """A command that runs until it is opened."""

    def __init__(self, folder: Path) -> None:
        path = folder / "gate"
        os.mkfifo(path)
        self._file = os.open(path, os.O_RDWR)  # what is written waits for its reader
        self.command = python(f"open({str(path)!r}).read(1)")

    def open(self) -> None:
        os.write(self._file, b"x")


def python(text: str) -> list[str]:
    return [PYTHON, "-c", text]


# -- a command that is held for


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (python("raise SystemExit(0)"), 0),
        (python("raise SystemExit(17)"), 17),
        (python("import os; os.kill(os.getpid(), 9)"), 137),
        (["/no/such/program"], 127),
        (["/"], 126),
    ],
    ids=["well", "with 17", "killed", "not there", "no program"],
)
def test_however_a_command_ends_it_is_given_back_and_its_code_passed_on(
    command: list[str], code: int
) -> None:
    kept = Kept()
    assert holding.run(command, kept) == code
    assert kept.did[-1] == "close"
    assert ("began" in kept.did) is (code not in (126, 127))


def test_it_is_renewed_while_the_command_runs(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    kept = Kept()
    kept.on_renewal = lambda: gate.open() if kept.did.count("renew") >= 2 else None
    assert holding.run(gate.command, kept) == 0
    assert kept.did.count("renew") >= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_passed_on_and_ours_are_as_they_were_afterwards(
    number: int, tmp_path: Path
) -> None:
    before, ready, kept = signal.getsignal(number), tmp_path / "ready", Kept()

    def send() -> None:
        if ready.exists():
            kept.on_renewal = lambda: None
            os.kill(os.getpid(), number)  # the handler runs here, and sends it on

    kept.on_renewal = send
    text = f"import signal; signal.signal({int(number)}, signal.SIG_DFL)"
    text += f"; open({str(ready)!r}, 'w').close(); signal.pause()"
    assert holding.run(python(text), kept) == 128 + number
    assert kept.did[-1] == "close"
    assert signal.getsignal(number) is before


IN_FRONT = "from supervisor.cli import holding; print(holding._in_front())"


@pytest.mark.skipif(sys.platform == "win32", reason="it has no terminals of this kind")
def test_a_terminal_is_told_from_where_the_input_comes() -> None:
    """As in `cat prompts | ullage lease m -- agent`: the agent has had what the terminal sends."""
    import fcntl
    import termios

    ours, terminal = os.openpty()

    def take() -> None:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    try:
        for before, found in ((take, b"True"), (os.setsid, b"False")):
            said = subprocess.run(
                [PYTHON, "-c", IN_FRONT],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                preexec_fn=before,
                check=True,
            )
            assert said.stdout.strip() == found
    finally:
        os.close(ours)
        os.close(terminal)


def test_what_the_daemon_says_never_ends_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = Gate(tmp_path)
    kept = Kept()
    kept.fails = {"renew": NoDaemon("nobody answers"), "close": NoDaemon("nobody answers")}
    kept.on_renewal = lambda: gate.open() if kept.did.count("renew") >= 3 else None
    assert holding.run(gate.command, kept) == 0
    assert capsys.readouterr().err.count("could not be renewed") == 1  # and not each time
    assert "again" not in kept.did


def test_what_is_over_already_need_not_be_given_back(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Kept()
    kept.fails = {"close": Refused(404, {"detail": "no reservation is called r-1"})}
    assert holding.run(python(""), kept) == 0
    assert capsys.readouterr().err == ""
    kept.fails = {"close": Refused(500, {"detail": "an internal error"})}
    assert holding.run(python(""), kept) == 0
    assert "could not give it back: an internal error" in capsys.readouterr().err


def test_what_was_lost_is_asked_for_again(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    kept = Kept()
    kept.fails = {"renew": Refused(404, {"detail": "no lease is called l-1"})}
    kept.on_renewal = lambda: gate.open() if "again" in kept.did else None
    assert holding.run(gate.command, kept) == 0
    assert "again" in kept.did


# -- ullage lease


def test_a_lease_is_held_while_its_command_runs(daemon: Daemon, monkeypatch: Any) -> None:
    leased(daemon)
    monkeypatch.setattr(leases_cli, "whoever", lambda: "me")
    result = ullage("lease", "a", "--ttl", "5m", "--", PYTHON, "-c", "raise SystemExit(3)")
    assert (result.exit_code, result.stderr) == (3, "")
    assert calls(daemon) == ["POST leases", "POST leases/l-1/renew", "DELETE leases/l-1"]
    assert daemon.asked[0][3] == {"model": "a", "client": "me", "ttl": 300.0, "wait": True}


def test_to_keep_what_is_held_takes_no_longer_than_a_question(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that is silent by then holds nobody up whose command has ended."""
    seen: list[float] = []

    def run(command: object, held: Any) -> int:
        seen.append(held.client.timeout)
        return 0

    monkeypatch.setattr(holding, "run", run)
    leased(daemon)
    reserved(daemon)
    for words in (("lease", "a"), ("reserve", "1GiB")):
        assert ullage(*words, "--", "true").exit_code == 0
        assert ullage("--timeout", "3s", *words, "--", "true").exit_code == 0
    assert seen == [TIMEOUT, 3.0] * 2


def test_without_a_command_its_id_is_printed(daemon: Daemon) -> None:
    leased(daemon)
    result = ullage("lease", "a", "--client", "agent", "--no-wait")
    assert (result.stdout, daemon.body["wait"], daemon.body["ttl"]) == ("l-1\n", False, 60.0)
    assert ullage("lease", "--close", "l-1").stdout == "closed: l-1\n"
    daemon.say("/api/v1/leases", {"leases": [LEASE]})
    assert ullage("lease", "--list").stdout == "l-1  ollama/a  me  41s left\n"
    daemon.say("/api/v1/leases", {"leases": []})
    assert ullage("lease", "--list").stdout == "no leases\n"


def test_a_lease_that_is_refused_runs_nothing(daemon: Daemon, tmp_path: Path) -> None:
    daemon.say("/api/v1/leases", {"ok": False, "lease": None, "sentences": ["it does not fit"]})
    result = ullage("lease", "a", "--", "touch", str(tmp_path / "ran"))
    assert result.exit_code == 5
    assert "it does not fit" in result.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["lease"],
        ["lease", "a", "--list"],
        ["lease", "--list", "--close", "l-1"],
        ["lease", "a", "--ttl", "soon"],
        ["reserve"],
        ["reserve", "1GiB", "--close", "r-1"],
        ["reserve", "1GiB", "--for", "soon"],
        ["retention", "pinned", "5m"],
        ["retention", "often"],
    ],
)
def test_what_makes_no_sense_is_refused_before_anybody_is_asked(
    daemon: Daemon, words: list[str]
) -> None:
    assert ullage(*words).exit_code == 2
    assert daemon.asked == []


# -- ullage reserve


def test_bytes_are_kept_free_while_a_command_runs_and_its_process_is_told(daemon: Daemon) -> None:
    reserved(daemon)
    result = ullage("reserve", "12GiB", "--pool", "gpu0", "--", PYTHON, "-c", "")
    assert result.exit_code == 0
    assert calls(daemon)[0] == "POST reservations"
    assert calls(daemon)[-1] == "DELETE reservations/r-1"
    body = daemon.asked[0][3]
    assert (body["size"], body["pool"], body["for"]) == ("12GiB", "gpu0", 60.0)
    (told,) = [b["pids"] for m, p, _, b in daemon.asked if p.endswith("renew") and "pids" in b]
    assert told != [os.getpid()]


def test_a_reservation_without_a_command_lasts_as_long_as_it_is_told(daemon: Daemon) -> None:
    reserved(daemon)
    assert ullage("reserve", "1GiB", "--for", "2h").stdout == "r-1\n"
    assert daemon.body["for"] == 7200.0
    daemon.say("/api/v1/reservations", {"reservations": [JOB]})
    expected = "r-1  1 GiB of ram, 0 B kept free  me  1m left\n"
    assert ullage("reserve", "--list").stdout == expected
    assert ullage("reserve", "--close", "r-1").exit_code == 0


def test_a_reservation_is_not_renewed_beyond_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def post(self, path: str, **body: Any) -> Any:
            self.calls.append(path)

        def delete(self, path: str) -> Any:
            self.calls.append(path)

    now = [100.0]
    monkeypatch.setattr(leases_cli.time, "monotonic", lambda: now[0])
    asked: Any = Asked()
    held = leases_cli._Reservation(asked, "1GiB", None, "me", 60, 20, 150.0, "r-1")
    held.renew()
    now[0] = 151.0
    held.renew()
    held.again()
    held.close()
    assert asked.calls == ["/api/v1/reservations/r-1/renew"]


def test_a_real_signal_to_the_command_line_gives_it_back(daemon: Daemon) -> None:
    leased(daemon)
    asked = [PYTHON, "-m", "supervisor", "lease", "a", "--", PYTHON, "-c",
             "print('runs', flush=True); import signal; signal.pause()"]  # fmt: skip
    with subprocess.Popen(asked, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        dog = threading.Timer(30, process.kill)
        dog.start()
        assert process.stdout.readline() == b"runs\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM
        dog.cancel()
    assert calls(daemon)[-1] == "DELETE leases/l-1"


# -- ullage pin, retention, evict


def test_a_pin_may_have_an_end(daemon: Daemon) -> None:
    daemon.say("/api/v1/pin", {"pinned": "ollama/a", "until": 1_790_000_000.0})
    result = ullage("pin", "a", "--for", "2h")
    assert daemon.body == {"model": "a", "for": "2h"}
    assert "is pinned until 20" in result.stdout


@pytest.mark.parametrize(
    ("words", "body"),
    [
        (["on_demand", "--model", "a"], {"model": "a", "retention": "on_demand"}),
        (["keep_alive", "5m"], {"retention": "keep_alive", "keep_alive": "5m"}),
        (
            ["keep_alive", "-1", "--engine", "o"],
            {"engine": "o", "retention": "keep_alive", "keep_alive": "-1"},
        ),
        (["reset", "--engine", "o"], {"engine": "o", "reset": True}),
    ],
)
def test_retention_posts_what_is_wanted(daemon: Daemon, words: list[str], body: Any) -> None:
    answer = {"scope": "host", "retention": "keep_alive", "keep_alive": 300, "reset": True}
    daemon.say("/api/v1/retention", answer)
    result = ullage("retention", *words)
    assert (result.exit_code, daemon.body) == (0, body)
    assert result.stdout.startswith("host: ")


def test_what_was_set_is_listed(daemon: Daemon) -> None:
    rows = [
        {"scope": "host", "retention": "keep_alive", "keep_alive": -1},
        {"scope": "model ollama/a", "retention": "on_demand", "keep_alive": None},
    ]
    daemon.say("/api/v1/retention", {"retention": rows})
    expected = "host: keep_alive for ever\nmodel ollama/a: on_demand\n"
    assert ullage("retention").stdout == expected


def test_evict_waits_for_who_is_in_use_unless_it_is_told_not_to(daemon: Daemon) -> None:
    answer = {"decision": DONE, "sentences": ["a is leaving (contexts=1)"], "ok": True}
    rows = [{"model": "ollama/a", "contexts": 1}]
    daemon.say("/api/v1/evict", answer | {"leaving": rows}, 202)
    daemon.say("/api/v1/models", {"models": []})
    result = ullage("evict", "a")
    assert "ollama/a has left" in result.stdout
    assert calls(daemon) == ["POST evict", "GET models"]
    assert "has left" not in ullage("evict", "a", "--later").stdout
    assert calls(daemon)[2:] == ["POST evict"]
