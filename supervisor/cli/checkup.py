"""What may be wrong with this machine, seen from Ullage: facts in, checks out. Reads nothing.

A fact that could not be read is None, and of that no check is made.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from collectors.reading import Bytes, Seconds, gib, mib
from supervisor.core.wording import duration, size
from supervisor.doctor import HOW_TO_TRACE, UNTRACED

from .killers import Killer

FILES = 4096  # descriptors: a thousand clients through the gateway take two each
LITTLE, TOO_LITTLE = gib(1), mib(100)  # of the disk of the journal
SOON, LATELY = Seconds(14 * 86400), Seconds(3600)
SLEPT = Seconds(1.0)  # less than that is how exactly two clocks are read


class Status(Enum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """`remedy` says what to do, where it is not ok."""

    about: str
    status: Status
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """`mode` as stat has it, `secret`: something is in it that others must not know."""

    path: str
    mode: int
    secret: bool = False


@dataclass(frozen=True, slots=True)
class Engine:
    """One that answers on this machine. `kept`: it asks for a key. `traced`: its process is known;
    None where nobody has looked, or a daemon has, and tells by itself."""

    id: str
    kind: str
    port: int
    kept: bool = False
    traced: bool | None = None


@dataclass(frozen=True, slots=True)
class Alerts:
    """What may be done by alerts, and who may send them: names, and when tokens end. `now` and all
    times in Unix time; `refused_at`: one was sent with no token, or with a wrong one."""

    now: float
    actions: tuple[str, ...] = ()
    tokens: Mapping[str, float | None] = field(default_factory=dict)
    refused_at: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Sizes in bytes, times in seconds."""

    gpus: tuple[str, ...] | None = None
    cards: int | None = None  # NVIDIA's, as the bus has them
    notes: tuple[str, ...] = ()
    faults: Mapping[str, str] = field(default_factory=dict)
    holders: frozenset[int] | None = None  # pids, as the driver has them
    pids: frozenset[int] | None = None  # as the kernel shows them to us
    own_pids: bool | None = None  # is this a PID namespace of our own?
    container: str | None = None
    hidden: bool | None = None  # are other users' processes hidden?
    listening: tuple[tuple[str, int], ...] | None = None
    engines: tuple[Engine, ...] = ()
    killers: tuple[Killer, ...] | None = None
    ram: Bytes | None = None
    swap: Bytes | None = None
    reserve: Bytes | None = None  # of RAM
    grace: Seconds | None = None
    asleep: Seconds | None = None  # how long the machine has been suspended since it was started
    synced: bool | None = None
    steps: int | None = None  # of the clock, as the daemon has counted them
    config: File | None = None
    mistakes: tuple[str, ...] = ()
    host: str | None = None
    token: bool | None = None  # does whoever asks the API need one?
    mighty: tuple[str, ...] = ()  # tokens that may do everything
    tls: bool | None = None
    alerts: Alerts | None = None
    state: File | None = None
    writable: bool | None = None
    disk: Bytes | None = None  # free
    files: int | None = None  # descriptors that the daemon may have
    overcommit: int | None = None
    persistent: bool | None = None
    meant_to_persist: bool = True
    failures: int = 0
    version: str | None = None
    daemon: str | None = None  # its version


def checkup(facts: Facts) -> list[Check]:
    return [check for each in CHECKS for check in each(facts)]


def _driver(f: Facts) -> Iterator[Check]:
    if f.gpus is None:
        return
    named = ", ".join(f.gpus) or "no GPU: RAM alone is looked after"
    yield Check("driver", Status.OK, named)
    if f.cards and not any("NVIDIA" in gpu.upper() for gpu in f.gpus):
        count = "an NVIDIA GPU is" if f.cards == 1 else f"{f.cards} NVIDIA GPUs are"
        remedy = "see `nvidia-smi`, install the driver, or give the container the GPU (--gpus all)"
        yield Check("driver", Status.FAIL, f"{count} on the bus, and no driver tells of it", remedy)
    for name, why in sorted(f.faults.items()):
        remedy = (
            "see the driver's own tool; nothing is loaded there, and nobody evicted, until then"
        )
        yield Check(f"driver {name}", Status.FAIL, why, remedy)
    for note in f.notes:
        if note.startswith("no "):  # what a machine does not have is nothing to mend
            yield Check("driver", Status.OK, note)
            continue
        remedy = "see the rights of Ullage's user (groups video and render), or run it as root"
        yield Check("driver", Status.WARN, note, remedy)


def _processes(f: Facts) -> Iterator[Check]:
    share = "start it with `pid: host` (docker --pid=host, Kubernetes hostPID: true)"
    strangers = frozenset() if f.holders is None or f.pids is None else f.holders - f.pids
    if strangers:
        what = f"{len(strangers)} of {len(f.holders or ())} processes that hold GPU memory are not"
        what += " in /proc: whose models they are cannot be told"
        yield Check("processes", Status.FAIL, what, share)
    elif f.own_pids:
        what = f"this {f.container or 'namespace'} has PIDs of its own: engines outside cannot be"
        yield Check("processes", Status.WARN, f"{what} measured by their processes", share)
    elif f.hidden:
        what = "/proc is mounted with hidepid: what others' processes hold is not known"
        remedy = "run Ullage as root, or in the group that hidepid's gid= names"
        yield Check("processes", Status.WARN, what, remedy)
    elif f.pids is not None:
        yield Check("processes", Status.OK, "every process can be seen")


def _traced(f: Facts) -> Iterator[Check]:
    for engine in f.engines:
        if engine.traced is False:
            yield Check(f"engine {engine.id}", Status.WARN, UNTRACED, HOW_TO_TRACE)


_BIND = {
    "ollama": "OLLAMA_HOST=127.0.0.1",
    "llamacpp": "--host 127.0.0.1",
    "vllm": "--host 127.0.0.1",
    "sglang": "--host 127.0.0.1",
    "comfyui": "start it without --listen",
    "lmstudio": "switch off `Serve on Local Network`",
}


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return address == "localhost"


def _exposed(f: Facts) -> Iterator[Check]:
    if f.listening is None:
        return
    for engine in f.engines:
        open_ = sorted({a for a, p in f.listening if p == engine.port and not is_loopback(a)})
        about = f"engine {engine.id}"
        if not open_:
            yield Check(about, Status.OK, f"it listens on loopback alone, port {engine.port}")
            continue
        every = {"0.0.0.0", "::"} & {*open_}
        where = "all addresses" if every else ", ".join(open_)
        what = f"it listens on {where}, port {engine.port}"
        if engine.kept:
            yield Check(about, Status.OK, f"{what}, and asks for a key")
            continue
        how = _BIND.get(engine.kind, "have it listen on 127.0.0.1")
        remedy = f"{how}; a container's port as 127.0.0.1:{engine.port}:{engine.port}. Clients on"
        remedy += " other machines go through the gateway, with a token (`ullage token NAME`)"
        what += ": whoever reaches this machine may use and unload its models"
        yield Check(about, Status.WARN, what, remedy)


def _killers(f: Facts) -> Iterator[Check]:
    if f.killers is None:
        return
    if not f.killers:
        yield Check("memory killers", Status.OK, "neither earlyoom nor systemd-oomd runs")
    for killer in f.killers:
        at = None if f.ram is None else killer.acts_at(f.ram)
        text = "" if at is None else f" below {size(at)} of available RAM"
        if at is not None and f.reserve is not None and at >= f.reserve:
            what = f"it kills{text}, and Ullage makes room below {size(f.reserve)}: too late"
            remedy = "raise pools.ram.reserve above that, or lower its threshold (earlyoom -m)"
            yield Check(killer.name, Status.WARN, what, remedy)
        elif killer.after is not None and f.grace is not None and killer.after <= f.grace:
            what = f"it kills after {duration(killer.after)} of pressure, and Ullage waits for"
            remedy = "lower relief_grace, or raise its DefaultMemoryPressureDurationSec"
            yield Check(killer.name, Status.WARN, f"{what} {duration(f.grace)} first", remedy)
        else:
            when = text or ("" if killer.after is None else f" after {duration(killer.after)}"
                            " of pressure")  # fmt: skip
            yield Check(killer.name, Status.OK, f"it kills{when}: Ullage makes room before")


def _clock(f: Facts) -> Iterator[Check]:
    if f.synced is False:
        remedy = "switch on systemd-timesyncd or chrony; leases and pins with an end go by it"
        yield Check("clock", Status.WARN, "it is not kept by a time server", remedy)
    if f.steps:
        what = f"it was set {f.steps} times while the daemon ran" if f.steps > 1 else (
            "it was set once while the daemon ran")  # fmt: skip
        yield Check("clock", Status.OK, f"{what}: no lease, pin or timer was moved by that")
    if f.asleep is not None and f.asleep > SLEPT:
        what = f"the machine was suspended for {duration(f.asleep)} since it was started"
        yield Check("clock", Status.OK, f"{what}: idle times do not count that")
    if f.synced and not f.steps:
        yield Check("clock", Status.OK, "it is kept by a time server")


def _configuration(f: Facts) -> Iterator[Check]:
    for mistake in f.mistakes:
        yield Check("configuration", Status.FAIL, mistake, "mend it, then `ullage config check`")
    if f.config is None:
        return
    mode, path = f.config.mode & 0o777, f.config.path
    if mode & 0o002:
        what = f"{path} may be written by anybody: it names the programs that Ullage starts"
        yield Check("configuration", Status.FAIL, what, f"chmod go-w {path}")
    elif f.config.secret and mode & 0o044:
        what = f"{path} holds a token or a key, and others may read it (mode {mode:o})"
        remedy = f"put it into a file of its own (token_file, key_file), or chmod 600 {path}"
        remedy += " where that is owned by Ullage's own user"
        yield Check("configuration", Status.WARN, what, remedy)
    elif mode & 0o020:
        what = f"{path} may be written by its group (mode {mode:o})"
        yield Check("configuration", Status.WARN, what, f"chmod g-w {path}")
    elif not f.mistakes:
        yield Check("configuration", Status.OK, path)


def _exposure(f: Facts) -> Iterator[Check]:
    if f.host is None:
        return
    if is_loopback(f.host):
        yield Check("admin API", Status.OK, "it listens on loopback alone")
    elif f.token is False:
        what = f"it listens on {f.host} and asks for no token: whoever reaches it runs this machine"
        remedy = "set listen.token_file, or listen.host to 127.0.0.1"
        yield Check("admin API", Status.FAIL, what, remedy)
    elif f.token and f.tls:
        what = f"it listens on {f.host} with TLS, and asks for a token"
        yield Check("admin API", Status.OK, what)
    elif f.token:
        what = f"it listens on {f.host} and asks for a token, which is sent in plain text"
        remedy = "set listen.tls_cert and listen.tls_key, or let it listen on 127.0.0.1, and ssh -L"
        yield Check("admin API", Status.WARN, what, remedy)


def _alerts(f: Facts) -> Iterator[Check]:
    if f.alerts is None or not (f.alerts.actions or f.alerts.tokens):
        return
    about, now = "alerts", f.alerts.now
    many = len(f.alerts.actions)
    actions = "1 action" if many == 1 else f"{many} actions"
    how = "`ullage token alertmanager --scope alerts:write`"
    good = {name for name, end in f.alerts.tokens.items() if end is None or end > now}
    if not f.alerts.actions:
        what = f"token {min(f.alerts.tokens)} may send alerts, and none of them does anything here"
        remedy = "say what they may do ([alerts.actions.NAME]), or take the token out"
        yield Check(about, Status.WARN, what, remedy)
    elif not f.alerts.tokens and f.token and not f.mighty:
        what = f"they may cause {actions}, and no token may send them"
        yield Check(about, Status.FAIL, what, f"make one: {how}")
    elif not f.alerts.tokens and f.host is not None and not is_loopback(f.host):
        what = f"they may cause {actions}, and are sent with a token that may do everything"
        yield Check(about, Status.WARN, what, f"make one for them alone: {how}")
    elif f.alerts.tokens and not good:
        what = f"every token for them has expired: {', '.join(sorted(f.alerts.tokens))}"
        yield Check(about, Status.FAIL, what, f"make another: {how}")
    elif not f.alerts.tokens and not f.token:
        what = f"they may cause {actions}, and any program of this machine may send them"
        yield Check(about, Status.OK, what)
    else:
        sent = f"with {', '.join(sorted(good or f.mighty))}"
        yield Check(about, Status.OK, f"they may cause {actions}, and are sent {sent}")
    for name, end in sorted(f.alerts.tokens.items()):
        if end is not None and now < end < now + SOON and f.alerts.actions:
            what = f"token {name} expires in {duration(Seconds(end - now))}"
            yield Check(about, Status.WARN, what, f"make another beside it: {how}")
    if f.alerts.refused_at is not None and now - f.alerts.refused_at < LATELY:
        ago = duration(Seconds(max(0.0, now - f.alerts.refused_at)))
        what = f"one was refused {ago} ago for its token; its sender does not send it again"
        remedy = "see the daemon's log, and credentials_file of the receiver in alertmanager.yml"
        yield Check(about, Status.WARN, what, remedy)


def _state(f: Facts) -> Iterator[Check]:
    about = "state directory"
    if f.state is not None:
        path = f.state.path
        if f.writable is False:
            remedy = "give it to Ullage's user, or say another: state_dir"
            yield Check(about, Status.FAIL, f"{path} cannot be written to", remedy)
        elif f.state.mode & 0o022:
            what = f"others may write to {path} (mode {f.state.mode & 0o777:o})"
            yield Check(about, Status.FAIL, what, f"chmod 700 {path}")
        elif f.disk is not None and f.disk < LITTLE:
            status = Status.FAIL if f.disk < TOO_LITTLE else Status.WARN
            what = f"{size(f.disk)} is free on the disk of {path}"
            remedy = "make room, or move it: state_dir. Decisions are not kept without"
            yield Check(about, status, what, remedy)
        else:
            free = "" if f.disk is None else f", {size(f.disk)} free"
            yield Check(about, Status.OK, f"{path}{free}")
    if f.persistent is False and not f.meant_to_persist:
        what = "it is kept in memory, as a demo's is: pins and decisions end with the daemon"
        yield Check("journal", Status.OK, what)
    elif f.persistent is False:
        what = "it is kept in memory only: pins, leases and decisions end with the daemon"
        yield Check(
            "journal", Status.FAIL, what, "the daemon's log says why: see its disk and mode"
        )
    elif f.failures:
        what = f"it could not be written {f.failures} times"
        yield Check("journal", Status.WARN, what, "the daemon's log says why: see its disk")
    elif f.persistent:
        yield Check("journal", Status.OK, "it is written")


def _limits(f: Facts) -> Iterator[Check]:
    if f.files is not None and f.files < FILES:
        what = f"the daemon may have {f.files} files open; the gateway takes two for each client"
        remedy = f"LimitNOFILE=65536 in its unit, or `ulimit -Hn {FILES}` where it is started"
        yield Check("file descriptors", Status.WARN, what, remedy)
    elif f.files is not None:
        yield Check("file descriptors", Status.OK, f"{f.files} may be open")
    if f.overcommit == 2:
        what = "vm.overcommit_memory is 2: loads fail for want of address space, whatever is free"
        remedy = "sysctl vm.overcommit_memory=0"
        yield Check("overcommit", Status.WARN, what, remedy)
    if f.swap == 0 and f.ram is not None:
        what = "there is none: when RAM is full, somebody is killed at once"
        yield Check("swap", Status.OK, f"{what}; Ullage makes room below its reserve")


def _versions(f: Facts) -> Iterator[Check]:
    if f.daemon is None or f.version is None:
        return
    if f.daemon == f.version:
        yield Check("versions", Status.OK, f"the daemon and this command are {f.version}")
        return
    what = f"the daemon is {f.daemon}, and this command {f.version}"
    remedy = "restart the daemon, or use the `ullage` that was installed with it"
    yield Check("versions", Status.WARN, what, remedy)


CHECKS: tuple[Callable[[Facts], Iterator[Check]], ...] = (
    _versions,
    _driver,
    _processes,
    _traced,
    _exposed,
    _exposure,
    _alerts,
    _killers,
    _clock,
    _configuration,
    _state,
    _limits,
)
