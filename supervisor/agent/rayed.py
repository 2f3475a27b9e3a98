"""Ray's driver of a host, in a process of its own: `python -m supervisor.agent.rayed`.

Ray ends its drivers when their node dies, and its calls may block for as long as they like. So this
process is there to be ended: the agent starts it, asks it by lines of JSON, and starts another.
Here every call to Ray runs in a thread, and is given up when its time is over.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final
from uuid import uuid4

from supervisor.fleet.ledger import strays

from . import actor, directory
from .actor import LEDGER, PROMPT, SPACE
from .backend import BackendError, Row
from .probe import Probe
from .resource import resource
from .safety import Facts, Rules, findings, refusals

THREADS: Final = 32  # calls to Ray at once
STARTS: Final = 20.0  # seconds in which the directory's process is there
ROOM: Final = 1.0  # seconds in which room in the ledger is there, or is not
HEAD: Final = "node:__internal_head__"  # a resource that Ray's head has, and no other node
WORDS: Final = 400  # characters of an error of Ray's
STRAY: Final = 5.0  # seconds after which a claim that the agent does not know of is nobody's


class Driver:
    """A host's part in Ray. Every method blocks, for a bounded time."""

    def __init__(self, host: str, daemon: str, token_file: str | None) -> None:
        self.host, self.agent = host, uuid4().hex
        self._daemon, self._token_file = daemon, token_file
        self._actors: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}
        self._engines: dict[str, Row] = {}
        self._directory: Any = None
        self._claims: dict[str, float] = {}  # of this driver, and when they were made

    def join(self, address: str, node_ip: str | None, patience: float, require_token: bool) -> Row:
        """Connect, and take this host's name. Raises BackendError."""
        probe = None if address == "auto" else Probe(address)
        import ray

        more = {} if node_ip is None else {"_node_ip_address": node_ip}
        try:
            ray.init(
                address=address,
                namespace=SPACE,
                log_to_driver=False,
                logging_level="ERROR",
                configure_logging=False,
                **more,
            )
        except Exception as error:
            raise BackendError("away", f"Ray cannot be joined: {_whole(error)}") from None
        context = ray.get_runtime_context()
        self._node = context.get_node_id()
        own = next((n for n in ray.nodes() if n["NodeID"] == self._node), None)
        if own is None or resource(self.host) not in own["Resources"]:
            what = f"this node of Ray has no {resource(self.host)}, in which its promises are kept"
            how = "start it with what `ullage fleet resources` prints"
            raise BackendError("resources", f"{what}: {how}", 409)
        self._engine = {"version": ray.__version__, "node": self._node}
        probe = probe or Probe(context.gcs_address)
        facts, rules = Facts(open_without=probe.is_open()), Rules(require_token)
        if refused := refusals(facts, rules):
            raise BackendError("refused", "; ".join(map(str, refused)), 409)
        self._take_name(patience)
        self._directory = self._find_directory()
        # It may be starting, on a machine that has much to do: until it answers there is no fleet.
        _got(self._directory.read.remote(), STARTS, "the directory")
        return {**self._engine, "trouble": [str(f) for f in findings(facts, rules)]}

    def _take_name(self, patience: float) -> None:
        """The name is the host's own as long as its actor is there."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        kind = ray.remote(actor.HostActor)
        end = time.monotonic() + patience
        while True:
            try:
                mine = kind.options(
                    name=actor.NAME + self.host,
                    namespace=SPACE,
                    num_cpus=0,
                    max_restarts=-1,
                    max_task_retries=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(self._node, soft=False),
                ).remote(self.host, self.agent, self._daemon, self._token_file)
                ray.get(mine.who.remote(), timeout=patience)
                self._actors[self.host] = mine
                return
            except ValueError:  # somebody has that name: for how long?
                other = self._who()
                if other is not None and time.monotonic() + patience / 2 > end:
                    what = f"a host called {self.host} is in the fleet already"
                    how = "give this one another name (fleet.name), or end the other's agent"
                    raise BackendError("taken", f"{what}: {how}", 409) from None
            except Exception as error:
                raise BackendError("away", f"Ray starts no actor here: {_first(error)}") from None
            if time.monotonic() > end:
                what = f"the name {self.host} is still that of a host which does not answer"
                raise BackendError("away", what)
            time.sleep(0.2)

    def _who(self) -> Row | None:
        """Who has this host's name, if he answers."""
        import ray

        try:
            other = ray.get_actor(actor.NAME + self.host, namespace=SPACE)
            found: Row = ray.get(other.who.remote(), timeout=PROMPT)
            return found
        except Exception:
            return None

    def _find_directory(self) -> Any:
        """The one directory. It is kept at Ray's head, and nowhere else: what ends another host
        does not end it, and when the head is gone nothing can be placed anyhow."""
        import ray

        return (
            ray.remote(directory.Directory)
            .options(
                name=directory.NAME,
                namespace=SPACE,
                lifetime="detached",
                get_if_exists=True,
                num_cpus=0,
                # A node affinity that is not hard was seen to put it elsewhere.
                resources={HEAD: 0.001},
                max_restarts=-1,
                max_task_retries=0,
            )
            .remote()
        )

    def tell(self, word: Row | None, kept: list[Row], since: str, basis: str, late: float) -> Row:
        import ray

        self._take_back({row["id"] for row in kept})
        told = self._directory.tell.remote(
            self.host, self.agent, word, tuple(kept), self._engine, since, basis
        )
        found: Row = _got(told, PROMPT, "the directory")
        for row in found["told"]:
            self._engines[row["word"]["host"]] = row["engine"]
        quiet = {h for h, age in found["ages"].items() if age > late}
        if quiet:
            dead = {n["NodeID"] for n in ray.nodes() if not n["Alive"]}
            quiet = {h for h in quiet if self._engines.get(h, {}).get("node") in dead}
        versions = {h: e["version"] for h, e in self._engines.items() if "version" in e}
        return {**found, "dead": sorted(quiet), "versions": versions}

    def _take_back(self, held: Collection[str]) -> None:
        """Claims that were made when the agent had stopped waiting for them: nobody else would."""
        for id in strays(dict(self._claims), held, time.monotonic(), STRAY):
            self.release(id)

    def claim(self, model: str, shares: Mapping[str, int]) -> str:
        """Its name is the claim: Ray gives it once. Its bundles are the bytes: all or nothing.
        It ends with this process, if not before."""
        from ray.util.placement_group import placement_group, remove_placement_group

        bundles = [{resource(h): -(-size // 2**20) or 1} for h, size in sorted(shares.items())]
        try:
            group = placement_group(bundles, "PACK", LEDGER + model)
        except Exception as error:
            if "already" in str(error):
                raise BackendError("taken", f"{model} is being placed already", 409) from None
            raise BackendError("away", f"Ray keeps no promise: {_first(error)}") from None
        if group.wait(ROOM):
            id = str(group.id.hex())
            self._claims[id] = time.monotonic()
            return id
        remove_placement_group(group)
        raise BackendError("full", f"the ledger of {', '.join(shares)} has no room for it", 409)

    def release(self, claim: str) -> None:
        """By its id, never by its name: that may be another's by now."""
        import ray
        from ray.util.placement_group import PlacementGroup, remove_placement_group

        self._claims.pop(claim, None)
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(claim))))

    def ask(self, host: str, what: str, within: float, words: Row) -> Row:
        import ray
        from ray.exceptions import RayActorError

        try:
            there = self._actors.get(host)
            if there is None:
                there = self._actors[host] = ray.get_actor(actor.NAME + host, namespace=SPACE)
        except ValueError:
            raise BackendError("away", f"{host} is not in the fleet") from None
        try:
            return actor.answer(_got(there.ask.remote(what, within, words), within, host))
        except RayActorError as error:
            if host != self.host:
                self._actors.pop(host, None)
            raise BackendError("away", f"{host}: {_first(error)}", unsure=True) from None

    def leave(self) -> None:
        """What others see at once. The actor ends with this process."""
        _got(self._directory.leave.remote(self.host, self.agent), PROMPT, "the directory")


def _got(asked: Any, within: float, who: str) -> Any:
    import ray
    from ray.exceptions import GetTimeoutError

    try:
        return ray.get(asked, timeout=within)
    except GetTimeoutError:
        what = f"{who} did not answer within {within:g} s"
        raise BackendError("away", what, unsure=True) from None


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _whole(error: BaseException) -> str:
    """All its lines: that versions differ stands in the first, and which they are below."""
    return " ".join(str(error).split())[:WORDS] or type(error).__name__


ASKED: Final = ("tell", "claim", "release", "ask", "leave")


def main() -> int:
    """Lines in, lines out: {"id", "do", "words"} → {"id", "answer"} or {"id", "error"}. The first
    line out, without an id, says how joining went. Ends when nobody asks any more."""
    # Ray and what it starts write to standard output as they like.
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lock = threading.Lock()

    def say(row: Row) -> None:
        with lock:
            replies.write(json.dumps(row) + "\n")

    # Loaded before it is needed: whoever waits for a node to come back joins it the sooner.
    importlib.import_module("ray")
    given = json.loads(sys.stdin.readline())
    driver = Driver(given["host"], given["daemon"], given["token_file"])
    try:
        how = {k: given[k] for k in ("address", "node_ip", "patience", "require_token")}
        say({"joined": driver.join(**how)})
    except BackendError as error:
        say({"error": _told(error)})
        return 1

    def run(row: Row) -> None:
        try:
            say({"id": row["id"], "answer": getattr(driver, row["do"])(**row["words"])})
        except BackendError as error:
            say({"id": row["id"], "error": _told(error)})
        except Exception as error:
            away = BackendError("away", f"Ray: {_first(error)}", unsure=True)
            say({"id": row["id"], "error": _told(away)})

    threads = ThreadPoolExecutor(THREADS)
    for line in sys.stdin:
        row = json.loads(line)
        if row["do"] in ASKED:
            threads.submit(run, row)
    # Not `ray.shutdown()`, which waits for whoever is gone: what is ours ends with this process.
    os._exit(0)


def _told(e: BackendError) -> Row:
    return {"code": e.code, "detail": e.detail, "status": e.status, "unsure": e.unsure}


if __name__ == "__main__":
    sys.exit(main())
