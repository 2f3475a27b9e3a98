"""What to do first where a model is not there to load: the engines' own commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from .core.snapshot import EngineState

# By kind of engine. Where an engine has no command for it, its own documentation has to do.
COMMANDS = {
    "ollama": "ollama pull {}",
    "dmr": "docker model pull {}",
    "lmstudio": "lms get {}",
    "localai": "local-ai models install {}",
    "lemonade": "lemonade-server pull {}",
    "speaches": "uvx speaches-cli model download {}",
}


def how(name: str, engines: Iterable[EngineState]) -> str:
    """What would bring `name`, "model" or "engine/model", to one of `engines`. Empty: there are
    no engines."""
    up = sorted((e for e in engines if e.up), key=lambda e: e.id)
    mine = [e for e in up if name.startswith(f"{e.id}/")]
    found = []
    for engine in mine or up:
        model = name.removeprefix(f"{engine.id}/")
        if (command := COMMANDS.get(engine.kind)) is not None:
            found.append(f"`{command.format(shlex.quote(model))}`")
    if found:
        return f"have it fetched first: {' or '.join(dict.fromkeys(found))}"
    names = ", ".join(e.id for e in mine or up)
    return f"give it to {names} first, as its documentation says" if names else ""
