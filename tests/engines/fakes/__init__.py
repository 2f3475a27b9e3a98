"""One module for each kind of engine, whose FAKE behaves as that engine does."""

from importlib import import_module

from supervisor.engines import ENGINES

FAKES = {kind: import_module(f"{__name__}.{kind}").FAKE for kind in ENGINES}
