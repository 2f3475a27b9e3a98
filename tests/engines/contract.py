"""What the contract tests share: every kind of engine, its capture, its fake, every call."""

import pytest

from supervisor.core.snapshot import Ability, EngineId, ModelId, State
from supervisor.engines import ENGINES, base
from supervisor.engines.base import (
    EngineError,
)
from tests.engines.fakes import FAKES
from tests.engines.replay import CAPTURES, capture

URL = "http://127.0.0.1:1"

# A kind without a fake starts engines, and has a contract test of its own.
KINDS = [kind for kind in ENGINES if FAKES[kind] is not None]


def lifecycle(kind):
    """The capture of `kind` that names an idle model and an unknown one, and maybe one that is
    installed and not loaded."""
    found = [p.stem for p in sorted(CAPTURES.glob(f"{kind}-*.json")) if "idle" in capture(p.stem)]
    assert found, f"{kind} has no capture to be tested with"
    return capture(found[0])


def able(*abilities):
    return [k for k in KINDS if ENGINES[k].abilities.issuperset(abilities)]


def engine(kind, client, url=URL, key=None):
    return ENGINES[kind](EngineId(kind), url, client, key, FAKES[kind].options())


async def everything(made):
    """Each call of the protocol by name, as something that can be awaited."""
    model = base.EngineModel(ModelId("m"), State.LOADED)
    yield "identify", made.identify()
    yield "list", made.list()
    yield "activity", made.activity(model)
    yield "load", made.load(ModelId("m"))
    yield "unload", made.unload(ModelId("m"))
    yield "sleep", made.sleep(ModelId("m"))
    yield "wake", made.wake(ModelId("m"))
    yield "restart", made.restart()
    yield "cancel", made.cancel(ModelId("m"))
    yield "habits", made.habits()


def controls(kind):
    """The names of the calls that change something, and that its kind can be asked for."""
    needs = {
        "load": Ability.LOAD,
        "unload": Ability.UNLOAD,
        "sleep": Ability.SLEEP,
        "wake": Ability.SLEEP,
        "restart": Ability.RESTART,
        "cancel": Ability.CANCEL,
    }
    can = ENGINES[kind].abilities
    found = [name for name, ability in needs.items() if ability in can]
    return [*found, "wake"] if Ability.WAKE in can and "wake" not in found else found


CONTROLS = frozenset({"load", "unload", "sleep", "wake", "restart", "cancel"})


async def outcomes(made, only=None):
    """What each call comes to: the error that it raised, or what it returned."""
    found = {}
    async for name, call in everything(made):
        if only is not None and name not in only:
            call.close()
            continue
        try:
            found[name] = await call
        except EngineError as error:
            found[name] = error
    return found


def kinds_with(*abilities):
    return pytest.mark.parametrize("kind", able(*abilities))


kinds = pytest.mark.parametrize("kind", KINDS)
ASKED = [k for k in KINDS if not ENGINES[k].described]
asked = pytest.mark.parametrize("kind", ASKED)
