"""Random faults by a seed, then quiet."""

from __future__ import annotations

from collections.abc import Callable

from supervisor.agent.directory import Directory
from tests.fleet.model.agent import ALL, Steps
from tests.fleet.model.head import Kind
from tests.fleet.model.world import HOSTS, SIZES, World

FAULTY = 90.0  # seconds of faults
QUIET = 90.0  # and of none
KINDS = ("kill", "agent", "head", "pause", "pause", "still", "still", "part", "part", "clock",
         "drain")  # fmt: skip


def run(
    seed: int,
    steps: Steps = ALL,
    *,
    fenced: bool = True,
    unique: bool = True,
    atomic: bool = True,
    kind: Kind = Directory,
) -> World:
    world = World(seed, steps, fenced, unique, atomic, (10.0, 2.0)[seed % 2], kind)
    dice, at = world.dice, world.kernel.at
    world.network.loss = dice.choice([0.0, 0.02, 0.1])
    world.network.slow = dice.choice([0.0, 0.05, 0.2])
    moment = 16.0
    world.stumbles = dice.choice([0.0, 0.1, 0.3])
    while moment < FAULTY:
        moment += dice.expovariate(1 / 1.5)
        model = dice.choice([*SIZES])
        for host in dice.sample(HOSTS, dice.randint(1, 3)):  # several ask for one at a time
            late = dice.choice([0.0, 0.01, 0.1, 1.0])
            at(moment + late, lambda h=host, m=model: world.request(h, m))  # type: ignore[misc]
    moment = 20.0
    while (moment := moment + dice.expovariate(1 / 6.0)) < FAULTY:
        at(moment, _fault(world))
    at(FAULTY, world.heal)
    world.kernel.run(FAULTY + QUIET)
    world.check_quiet()
    return world


def _fault(world: World) -> Callable[[], None]:
    dice, at = world.dice, world.kernel.at
    host, lasts = dice.choice(HOSTS), dice.uniform(0.5, 12.0)
    several = dice.sample(HOSTS, dice.randint(1, 2))
    by, with_head = dice.uniform(-7200, 7200), dice.random() < 0.3
    kind = dice.choice(KINDS)

    def happen() -> None:
        if kind == "kill":
            world.kill(host)
            at(4.0 + lasts, lambda: world.restart(host))
        elif kind == "agent":
            world.restart_agent(host)
        elif kind == "head":
            world.kill_head()
            at(lasts / 2, world.restart_head)
        elif kind == "pause":
            world.pause(host, lasts)
        elif kind == "still":
            world.still(host, lasts)
        elif kind == "part":
            world.part(several, with_head)
            at(lasts, world.network.parts.clear)
        elif kind == "clock":
            world.step_clock(host, by)
        else:
            world.agents[host].daemon.drained = True
            at(lasts, lambda: setattr(world.agents[host].daemon, "drained", False))

    return happen
