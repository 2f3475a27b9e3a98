"""Which processes hold which model, and what those processes hold of RAM.

An engine is known by the process that listens on its port, a model by the engine's word or by
the command line of its process; descent, and the control group, tell the rest (core/kinship).
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import PurePath
from urllib.parse import urlsplit

from collectors.listener import listener
from collectors.members import CONTAINER_CLIENTS
from collectors.process import cgroup_of, list_commands, read_processes, read_times
from collectors.reading import Bytes, Process, ProcessMemory, ProcessTimes, Seconds, mib
from collectors.table import descendants

from .aside import Aside
from .core.kinship import NOBODY, Births, Kinship, kinship
from .core.snapshot import EngineId, ModelRef
from .engines.base import EngineModel
from .engines.base import Process as Hint

DEADLINE = Seconds(1.0)

# The mappings of one process take half a millisecond to read; its CPU time, a tenth of that.
# A process that has not worked holds what it held: the others are read each time, all of them
# this often.
MEMORY_INTERVAL = Seconds(15.0)
WORKED = Seconds(0.02)

# Who listens on a port is searched for among all open files of all processes: rarely.
ROOTS_INTERVAL = Seconds(60.0)
LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "::")

# The control group is asked of processes that are worth it: most hold next to nothing.
LARGE = mib(64)


@dataclass(frozen=True, slots=True)
class Processes:
    """How the machine's processes are read; the demo and tests bring their own."""

    read: Callable[[Iterable[int]], dict[int, ProcessMemory]] = read_processes
    commands: Callable[[], dict[int, tuple[str, ...]]] = list_commands
    times: Callable[[Iterable[int]], Mapping[int, ProcessTimes | ProcessMemory]] = read_times
    listener: Callable[[int], int | None] = listener
    group: Callable[[int], str | None] = cgroup_of
    # Is it told here who listens? Elsewhere no right would change that.
    tells: bool = sys.platform == "linux"


@dataclass(slots=True)
class Attribution:
    processes: Processes = field(default_factory=Processes)
    clock: Callable[[], float] = time.monotonic
    aside: Aside = field(default_factory=lambda: Aside("read processes"))
    kin: Kinship = NOBODY
    _hints: dict[ModelRef, Hint] = field(default_factory=dict)
    _pids: dict[ModelRef, tuple[int, float]] = field(default_factory=dict)  # pid, started
    # Processes that held a model which their engine no longer lists, and have not ended.
    _lingering: dict[ModelRef, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    _ended: frozenset[ModelRef] = frozenset()
    # The processes of models that name none, as (pid, started): known by their engine's.
    _descended: dict[ModelRef, tuple[tuple[int, float], ...]] = field(default_factory=dict)
    _quit: frozenset[EngineId] = frozenset()  # whose process has ended, and no other answers yet
    _went: frozenset[ModelRef] = frozenset()
    _memory: dict[int, ProcessMemory] = field(default_factory=dict)
    _cpu: dict[int, Seconds] = field(default_factory=dict)  # as their memory was read
    _read_at: float | None = None
    _members: frozenset[int] = frozenset()  # further processes that hold models
    _lost: frozenset[int] = frozenset()  # of `_table`, that have ended since it was read
    _roots: dict[EngineId, tuple[int, float]] = field(default_factory=dict)
    _roots_at: dict[EngineId, float] = field(default_factory=dict)
    _untraced: frozenset[EngineId] = frozenset()
    _table: tuple[Process, ...] = ()  # what `kin` was worked out from
    _kin_of: object = None
    _births: Births = field(default_factory=Births)

    def pids_of(self, ref: ModelRef) -> tuple[int, ...]:
        """The processes that hold this model and nothing else, the first of them first. Empty
        where it cannot be told."""
        main = self._pids.get(ref)
        first = () if main is None else (main[0],)
        others = self.kin.models.get(ref, frozenset()) - set(first)
        return (*first, *sorted(p for p in others if p in self._memory))

    def started(self, pid: int) -> float | None:
        """When a process that holds a model was seen to start, in the kernel's own time."""
        found = self._memory.get(pid)
        return None if found is None else found.started

    def has_ended(self, ref: ModelRef) -> bool:
        """The process that held this model was known, and is gone."""
        return ref in self._ended

    def went_with_its_engine(self, ref: ModelRef) -> bool:
        """The process that answered for its engine has ended, and so have all that were known to
        hold this model. It never named one: where it does, see `has_ended`."""
        return ref in self._went

    def lingering(self) -> dict[ModelRef, Bytes]:
        """RAM of processes that outlive the model they held, by that model."""
        return {
            ref: Bytes(sum(self._memory[p].anonymous for p, _ in found if p in self._memory))
            for ref, found in self._lingering.items()
        }

    def untraced(self) -> frozenset[EngineId]:
        """Engines that answer on this machine, and nobody knows by which process, but could."""
        return self._untraced if self.processes.tells else frozenset()

    async def read(
        self,
        listed: Mapping[ModelRef, EngineModel],
        up: Mapping[EngineId, str],
        table: tuple[Process, ...] = (),
        *,
        thorough: bool,
        only: Collection[EngineId] | None = None,
        mains: Mapping[EngineId, int] | None = None,
    ) -> dict[int, ProcessMemory]:
        """What the loaded models' processes hold, by pid; a few seconds old unless `thorough`.

        `up` are the engines that answer, and their URLs; `table` is every process. `mains` are
        engines' processes by the word of whoever started them, for where nobody is seen to listen.
        Where `only` some engines are meant, the processes of others count as they were last seen.
        Raises TimeoutError when the kernel does not answer in time, OSError when it refuses.
        """
        call = partial(self._read, listed, up, table, thorough, only, mains or {})
        return await self.aside.call(call, DEADLINE)

    def _read(
        self,
        listed: Mapping[ModelRef, EngineModel],
        up: Mapping[EngineId, str],
        table: tuple[Process, ...],
        thorough: bool,
        only: Collection[EngineId] | None,
        mains: Mapping[EngineId, int],
    ) -> dict[int, ProcessMemory]:
        """Runs in a thread of its own, one call at a time. What is read on the loop meanwhile is
        replaced whole, never changed."""
        hints = {
            r: m.process for r, m in listed.items() if m.state is not None and m.process is not None
        }
        loaded = [r for r, m in listed.items() if m.state is not None]
        # Gone, or loaded again elsewhere.
        moved_out = {r for r in self._pids if hints.get(r) != self._hints.get(r)}
        gone = moved_out | (self.kin.models.keys() - set(loaded))
        self._lingering = self._lingering | {r: self._processes_of(r) for r in gone}
        self._pids = {r: p for r, p in self._pids.items() if r not in moved_out}
        self._hints = hints
        held = self._pids.keys()
        nameless = [r for r in loaded if r not in hints]
        self._descended = {r: self._descended.get(r, ()) for r in nameless}
        self._quit -= up.keys()  # before it is looked at: an answer may be older than its end
        moved = self._look_after(only)
        self._lingering = {r: p for r, p in self._lingering.items() if r not in self._pids}
        ended = (self._ended | held) & hints.keys()
        self._ended = frozenset(ended - self._pids.keys())
        now = self.clock()
        self._search_roots(up, _servers(mains, table), now)
        self._quit -= self._roots.keys()
        roots = {e: pid for e, (pid, _) in self._roots.items() if e in up}
        meant = up.keys() if only is None else up.keys() & set(only)
        missing = {r: h for r, h in hints.items() if r not in self._pids and r.engine in meant}
        held_by = {pid: r.engine for r, (pid, _) in self._pids.items()}
        found = _find(missing, self.processes.commands, roots, table, held_by) if missing else {}
        late = self._read_at is None or now - self._read_at >= MEMORY_INTERVAL
        if thorough or (late and only is None):
            if only is None:
                self._read_at = now
            moved = {pid for pid, _ in self._known(only)} | self._members_of(only)
        pids = {r: pid for r, (pid, _) in self._pids.items()} | found
        kin = self._kinship(table, up, pids, loaded)
        members = frozenset(p for pids in kin.models.values() for p in pids)
        members -= self._lost | set(pids.values())
        moved |= members - self._members
        if fresh := moved | set(found.values()):
            self._memory = self._memory | self.processes.read(fresh)
            self._cpu = self._cpu | {p: self._memory[p].cpu for p in fresh if p in self._memory}
        self._pids = self._pids | {
            r: (p, self._memory[p].started) for r, p in found.items() if p in self._memory
        }
        self._ended -= self._pids.keys()
        self._members, self.kin = members, kin
        for ref in (r for r in nameless if r.engine in roots):
            self._descended[ref] = self._processes_of(ref)
        self._went = frozenset(
            r for r in nameless if r.engine in self._quit and not self._descended[r]
        )
        return dict(self._memory)

    def _kinship(
        self,
        table: tuple[Process, ...],
        up: Mapping[EngineId, str],
        held: Mapping[ModelRef, int],
        loaded: Collection[ModelRef],
    ) -> Kinship:
        newborn = self._births.newborn(table, self.clock())
        if not up and not held:
            return NOBODY
        further = {r: h.more for r, h in self._hints.items() if h.more and r in held}
        key = (dict(held), tuple(loaded), dict(up), dict(self._roots), further, newborn)
        if table is self._table and key == self._kin_of:
            return self.kin
        self._lost = self._lost if table is self._table else frozenset()
        self._table, self._kin_of = table, key
        # Whoever started an engine may have started us: we are nobody's, and hold no model.
        ours = descendants(os.getpid(), table) | {os.getpid()}
        for pid in ours.intersection(held.values()):
            ours -= descendants(pid, table) | {pid}  # a model that we have started is not of us
        table = tuple(p for p in table if p.pid not in ours)
        roots = {e: pid for e, (pid, _) in self._roots.items() if e in up}
        asked = {p.pid for p in table if p.anonymous >= LARGE} if roots else set()
        asked |= set(roots.values())
        groups = {pid: g for pid in asked if (g := self.processes.group(pid)) is not None}
        return kinship(table, roots, held, loaded, groups, further, newborn)

    def _search_roots(
        self, up: Mapping[EngineId, str], mains: Mapping[EngineId, int], now: float
    ) -> None:
        """Find the processes that answer for engines, where it is time to search."""
        for engine, url in up.items():
            if engine in self._roots:
                continue
            pid = mains.get(engine)
            if self._due(engine, now):
                self._roots_at[engine] = now
                port = _local_port(url)
                pid = (None if port is None else self.processes.listener(port)) or pid
            if pid is not None and (found := self.processes.times({pid}).get(pid)):
                self._roots[engine] = pid, found.started
        here = (engine for engine, url in up.items() if _local_port(url) is not None)
        self._untraced = frozenset(engine for engine in here if engine not in self._roots)

    def _processes_of(self, ref: ModelRef) -> tuple[tuple[int, float], ...]:
        """The processes that hold a model, as (pid, started)."""
        return tuple((p, self._memory[p].started) for p in self.pids_of(ref) if p in self._memory)

    def _known(self, only: Collection[EngineId] | None = None) -> list[tuple[int, float]]:
        """Those that hold a model by themselves, or did, as (pid, started); of `only` these
        engines."""
        alone = (p for ref, p in self._pids.items() if only is None or ref.engine in only)
        return [*alone, *_of(self._lingering, only)]

    def _members_of(self, only: Collection[EngineId] | None) -> frozenset[int]:
        """Further processes that hold models; of `only` these engines."""
        if only is None:
            return self._members
        held = (pids for ref, pids in self.kin.models.items() if ref.engine in only)
        return self._members.intersection(pid for pids in held for pid in pids)

    def _due(self, engine: EngineId, now: float) -> bool:
        """Is it time to search for the engine's process?"""
        at = self._roots_at.get(engine)
        return at is None or now - at >= ROOTS_INTERVAL

    def _look_after(self, only: Collection[EngineId] | None) -> set[int]:
        """Drop processes that have ended, or whose pid is somebody else's now; of `only` these
        engines. Returns the pids that have worked since their memory was read."""
        roots = (p for e, p in self._roots.items() if only is None or e in only)
        asked = {pid for pid, _ in (*self._known(only), *roots, *_of(self._descended, only))}
        asked |= self._members_of(only)
        times = self.processes.times(asked)
        alive = {(pid, t.started) for pid, t in times.items()}
        is_there = partial(_is_there, asked, alive)
        ended = {e for e, p in self._roots.items() if not is_there(p)}
        for engine in ended:  # whoever answers in its place is searched for at once
            del self._roots[engine], self._roots_at[engine]
        self._quit |= ended
        self._pids = {r: p for r, p in self._pids.items() if is_there(p)}
        still = {r: tuple(filter(is_there, ps)) for r, ps in self._lingering.items()}
        self._lingering = {r: found for r, found in still.items() if found}
        self._descended = {r: tuple(filter(is_there, ps)) for r, ps in self._descended.items()}
        kept = {pid for pid, _ in self._known()}
        read = self._memory
        kept |= {p for p in self._members if p in read and is_there((p, read[p].started))}
        self._lost |= self._members - kept
        self._members &= kept
        self._cpu = {p: cpu for p, cpu in self._cpu.items() if p in kept}
        self._memory = {
            p: replace(m, cpu=times[p].cpu) if p in times else m
            for p, m in self._memory.items()
            if p in kept
        }
        seen = times.keys() & self._cpu.keys()
        worked = {p for p in seen if times[p].cpu - self._cpu[p] >= WORKED}
        return (worked & kept) | (kept - self._cpu.keys())


def _is_there(asked: Set[int], alive: Set[tuple[int, float]], process: tuple[int, float]) -> bool:
    """Does it run yet, as (pid, started)? One that was not asked about is not missed."""
    return process[0] not in asked or process in alive


def _of(
    found: Mapping[ModelRef, tuple[tuple[int, float], ...]], only: Collection[EngineId] | None
) -> Iterator[tuple[int, float]]:
    """Their processes, of `only` these engines."""
    return (p for ref, ps in found.items() if only is None or ref.engine in only for p in ps)


def _find(
    hints: Mapping[ModelRef, Hint],
    commands: Callable[[], dict[int, tuple[str, ...]]],
    roots: Mapping[EngineId, int],
    table: Collection[Process],
    held_by: Mapping[int, EngineId],
) -> dict[ModelRef, int]:
    """`held_by`: who is known already, and of which engine."""
    found = {
        r: h.pid
        for r, h in hints.items()
        if h.pid is not None and (h.ours or _descends(h.pid, roots.get(r.engine), table))
    }
    described = {r: h for r, h in hints.items() if h.argv and r not in found}
    if described:
        running = commands()
        families = {e: descendants(pid, table) | {pid} for e, pid in roots.items()}
        held = dict(held_by) | {pid: ref.engine for ref, pid in found.items()}
        for ref, hint in described.items():
            matches = {pid for pid, argv in running.items() if _matches(argv, hint)}
            if hint.whole and _is_like(roots.get(ref.engine), matches, running):
                matches &= families[ref.engine]  # it is of that family, or it is all of it
            if (pid := _own(ref.engine, matches, families, held)) is not None:
                found[ref], held[pid] = pid, ref.engine
    whole = (r for r, h in hints.items() if h.whole and r.engine in roots and r not in found)
    return found | {ref: roots[ref.engine] for ref in whole}


def _is_like(root: int | None, matches: Set[int], running: Mapping[int, tuple[str, ...]]) -> bool:
    """Is the process that answers one as those are, as llama-server is and llama-bench? Else it may
    be a proxy in front of one of them."""

    def kind(pid: int) -> str:
        return PurePath(next(iter(running.get(pid, ())), "")).name.partition("-")[0]

    return root is not None and kind(root) in map(kind, matches)


def _own(
    engine: EngineId,
    matches: Set[int],
    families: Mapping[EngineId, Set[int]],
    held: Mapping[int, EngineId],
) -> int | None:
    """Of the processes that a description fits, an engine's own: two engines may well have the
    same file. One that holds no other model comes first."""
    near = matches & families.get(engine, set())
    if not near:
        others = {pid for e, family in families.items() if e != engine for pid in family}
        others |= {pid for pid, e in held.items() if e != engine}
        near = matches - others
    return min(near - held.keys() or near, default=None)


def _descends(pid: int, root: int | None, table: Iterable[Process]) -> bool:
    """Is it of the family of the process that answers for its engine? Else its pid may well be
    that of another world, where the engine lives."""
    return root is not None and (pid == root or pid in descendants(root, table))


def _matches(argv: tuple[str, ...], hint: Hint) -> bool:
    return all(
        any(argv[i : i + len(run)] == run for i in range(len(argv) - len(run) + 1))
        for run in hint.argv
    )


def _servers(mains: Mapping[EngineId, int], table: Iterable[Process]) -> Mapping[EngineId, int]:
    """Without the main processes of units that only have a container started, as `docker run` does:
    what it serves with descends from others, and nothing that the client holds is a model."""
    clients = {p.pid for p in table if p.name in CONTAINER_CLIENTS} if mains else ()
    return {engine: pid for engine, pid in mains.items() if pid not in clients}


def _local_port(url: str) -> int | None:
    """The port of an engine on this machine. None: it is elsewhere, or says nothing of it."""
    try:
        parts = urlsplit(url)
        return parts.port if parts.hostname in LOCAL else None
    except ValueError:
        return None
