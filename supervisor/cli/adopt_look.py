"""What there is of an engine on this machine: who listens at its port, in which unit, told what.
Reads, and changes nothing; what may not be read is not known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from collectors.listener import listener
from collectors.process import cgroup_of, list_commands, name_of

from .adopting import Recipe, Seen
from .dropins import texts

UNITS = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system",
         "usr/lib/systemd/system", "lib/systemd/system")  # fmt: skip
ROOT = Path("/")
_UNIT = re.compile(r"/([^/]+\.service)(?=/|$)")
_CONTAINER = re.compile(r"docker|libpod|containerd|crio|kubepods")


def look(
    recipe: Recipe,
    port: int,
    *,
    root: Path = ROOT,
    listening: Callable[[int], Sequence[str]] | None = None,
    name: str | None = None,
    ours: bool = False,
) -> Seen:
    """`name` is what the configuration calls it; `ours`: the gateway listens there already.
    Takes some milliseconds."""
    addresses = tuple((listening or listening_at)(port))
    pid = None if ours else _process(recipe, port, root, bool(addresses))
    group = None if pid is None else cgroup_of(pid, root)
    unit, of_user = _unit_in(group or "")
    unit = unit or _installed(recipe, root)
    places = [f"{folder}/{unit}" for folder in UNITS if unit is not None]
    files = list(texts(root, places))
    said = None
    if recipe.variable is not None:
        said = _of_process(pid, recipe.variable, root) or _of_unit(files, recipe.variable)
    return Seen(
        addresses=addresses,
        pid=pid,
        program=None if pid is None else name_of(pid, root),
        unit=unit,
        of_user=of_user,
        container=unit is None and bool(_CONTAINER.search(group or "")),
        started=_started(files),
        said=said,
        name=name,
        ours=ours,
    )


def listening_at(port: int) -> tuple[str, ...]:
    """The addresses on which somebody listens at a port. Nobody, where that may not be asked."""
    try:
        found = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return ()
    mine = (c.laddr for c in found if c.status == psutil.CONN_LISTEN and c.laddr)
    return tuple(sorted({a.ip for a in mine if a.port == port}))


def _process(recipe: Recipe, port: int, root: Path, somebody: bool) -> int | None:
    """By its port, else by its name: whose socket it is may not be told to us."""
    pid = listener(port, root)
    if pid is not None or not somebody:
        return pid
    for pid, argv in sorted(list_commands(root).items()):
        if Path(argv[0]).name in recipe.programs:
            return pid
    return None


def _unit_in(group: str) -> tuple[str | None, bool]:
    """The innermost service of a control group, and whether it is one of a user's own."""
    units = _UNIT.findall(group)
    own = [u for u in units if not u.startswith("user@")]
    return (own[-1] if own else None), len(own) < len(units)


def _installed(recipe: Recipe, root: Path) -> str | None:
    if recipe.unit is None:
        return None
    return recipe.unit if any((root / d / recipe.unit).is_file() for d in UNITS) else None


def _of_process(pid: int | None, variable: str, root: Path) -> str | None:
    if pid is None:
        return None
    try:
        words = (root / f"proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    found = dict(word.partition(b"=")[::2] for word in words)
    value = found.get(variable.encode())
    return None if value is None else value.decode(errors="replace")


def _of_unit(texts: Sequence[str], variable: str) -> str | None:
    """The last one said counts."""
    pattern = re.compile(rf"^Environment=.*?\"?\b{variable}=([^\"\s]+)", re.MULTILINE)
    found = [value for text in texts for value in pattern.findall(text)]
    return found[-1] if found else None


def _started(texts: Sequence[str]) -> str | None:
    found = [v for text in texts for v in re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)]
    said = [" ".join(value.split()) for value in found if value.strip()]
    return said[-1] if said else None


def free_after(port: int, listening: Callable[[int], Sequence[str]] = listening_at) -> int:
    """The next port at which nobody listens now."""
    beyond = range(port + 1, min(port + 100, 65536))
    return next((p for p in beyond if not listening(p)), port + 1)
