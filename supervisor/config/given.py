"""What the operator gave, in the file, the environment and flags: one tree, and where from."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from supervisor.units import shown

from . import plain_file
from .forms import Form
from .settings import OTHER_VARIABLES, SETTINGS, KeyPath, dotted, table_at
from .table import form_of

# Two ways to say one thing: given in a stronger layer, one replaces the other of a weaker one.
RIVALS = {
    ("listen", "token"): ("listen", "token_file"),
    ("single_active_backend",): ("single_model_mode",),
}
_RIVALS = RIVALS | {b: a for a, b in RIVALS.items()}

SYSTEM = Path("/etc/ullage/ullage.toml")  # for all of the machine
OVERRIDE = "override"  # whence a setting is that was set while running

Stamp = tuple[int, ...]

_VARIABLES = {s.env: s.path for s in SETTINGS if s.env is not None}
LONGEST = 1000  # characters of a key, in which a model's name may be
_PLAIN = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_ENGINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: the key, what is wrong and what would be right, and where it stands."""

    key: str
    message: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.key}: {self.message}" + (f" ({self.where})" if self.where else "")


class ConfigError(Exception):
    """Every mistake in the configuration, one a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


@dataclass(slots=True)
class Given:
    """All layers as one tree, as written. `sources` and `where` say of each key whence it is."""

    tree: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, str] = field(default_factory=dict)
    where: dict[KeyPath, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    folder: Path = field(default_factory=Path.cwd)
    looked: tuple[Path, ...] = ()  # the file, or where one was looked for in vain
    stamp: Stamp | None = None  # of the file, before it was read

    def problem(self, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(dotted(path), message, self.place(path)))

    def place(self, path: KeyPath) -> str:
        """Where `path`, or the table around it, or something within it was written; or what is
        another name for it."""
        if path not in self.where and _RIVALS.get(path) in self.where:
            path = _RIVALS[path]
        for n in range(len(path), 0, -1):
            if path[:n] in self.where:
                return self.where[path[:n]]
        return next((w for p, w in self.where.items() if p[: len(path)] == path), "")

    def has(self, path: KeyPath) -> bool:
        return path in self.sources

    def keys(self, path: KeyPath) -> frozenset[str]:
        """What is written in the table at `path`, whether it can be read or not."""
        table: Any = self.tree
        for key in path:
            table = table.get(key) if isinstance(table, dict) else None
        return frozenset(table) if isinstance(table, dict) else frozenset()

    def lay(self, layer: Mapping[KeyPath, object], source: Mapping[KeyPath, str]) -> None:
        """Put a stronger layer on top."""
        for path, value in layer.items():
            rival = _RIVALS.get(path)
            if rival is not None and rival not in layer:
                _cut(self.tree, rival)
                self.sources.pop(rival, None)
                self.where.pop(rival, None)
            if _put(self.tree, path, value):
                self.sources[path] = self.where[path] = source[path]


def gather(
    path: Path | None,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    places: Sequence[Path] | None = None,
) -> Given:
    """Flags over environment over file. `flags` by dotted key; None: not given.

    Without a `path` the file is the one that ULLAGE_CONFIG names, else the first of `places`
    that exists, else none.
    """
    given = Given()
    named = path or (Path(environ["ULLAGE_CONFIG"]) if environ.get("ULLAGE_CONFIG") else None)
    given.looked = tuple(usual_places(environ) if places is None else places)
    file = named or next((p for p in given.looked if _is_there(p)), None)
    if file is not None:
        given.looked, given.stamp = (file,), stamp_of(file)
        _read_file(given, file)
    _read_environment(given, environ)
    _read_flags(given, flags)
    return given


def usual_places(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where the file is looked for, the first that exists counts."""
    own = environ.get("XDG_CONFIG_HOME")
    home = home_of(environ)
    if own is None and home is not None:
        own = str(home / ".config")
    return (
        Path("ullage.toml"),
        *([Path(own) / "ullage" / "ullage.toml"] if own else []),
        SYSTEM,
    )


def _is_there(place: Path) -> bool:
    """Is it to be read? The machine's own is also where its folder is closed to us: that it cannot
    be read is then said, for whoever wrote it counts on it. Elsewhere, in a home or where we were
    started, a closed folder has nothing to do with us."""
    if place != SYSTEM:
        return os.path.isfile(place)
    try:
        return stat.S_ISREG(place.stat().st_mode)
    except PermissionError:
        return True
    except OSError:
        return False


def stamp_of(file: Path) -> Stamp:
    """What is another when a file has changed in any way, links followed."""
    try:
        found = file.stat()
    except OSError as error:
        return (error.errno or 0,)
    times = (found.st_mtime_ns, found.st_ctime_ns)
    return (found.st_dev, found.st_ino, found.st_mode, found.st_size, *times)


def default_state_dir(environ: Mapping[str, str], *, root: bool) -> tuple[Path, str]:
    """Where the journal is kept when nothing is said, and whence that is."""
    if given := environ.get("STATE_DIRECTORY"):  # systemd's; several are separated by colons
        return Path(given.split(":")[0]), "environment STATE_DIRECTORY"
    if root:
        return Path("/var/lib/ullage"), "default"
    if (home := environ.get("XDG_STATE_HOME")) and Path(home).is_absolute():
        return Path(home) / "ullage", "environment XDG_STATE_HOME"
    own = home_of(environ)
    if own is None:
        return Path(tempfile.gettempdir()) / f"ullage-{os.getuid()}", "default"
    return own / ".local/state/ullage", "default"


def home_of(environ: Mapping[str, str]) -> Path | None:
    """The user's folder. None: a container may give us a user that nobody knows of."""
    try:
        return Path(environ.get("HOME") or Path.home())
    except RuntimeError:
        return None


def _read_file(given: Given, file: Path) -> None:
    try:
        text = file.read_bytes().decode("utf-8")
    except OSError as error:
        why = plain_file.why(file, error)
        given.problems.append(Problem(str(file), f"cannot be read: {why}"))
        return
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        given.problems.append(Problem(f"{file}:{line}", "is not UTF-8 text"))
        return
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = re.search(r"at line (\d+)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        given.problems.append(Problem(f"{file}:{line}", f"is not TOML: {error}"))
        return
    given.folder = file.absolute().parent
    given.tree = tree
    given.where = {path: f"{file}:{line}" for path, line in _lines(text)}
    for path in _leaves(tree):
        given.sources[path] = f"file {file}"
        around = (given.where.get(path[:n]) for n in range(len(path), 0, -1))
        given.where[path] = next(filter(None, around), str(file))


def _leaves(tree: Mapping[str, Any], path: KeyPath = ()) -> Iterator[KeyPath]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key)


def _lines(text: str) -> Iterator[tuple[KeyPath, int]]:
    """The line of each table and key. `text` is valid TOML; what is not plain is passed over."""
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = re.match(r"\s*\[([^\[].*?)\]\s*(#.*)?$", line)
        key = re.match(r"\s*([^\s=#\[\],{}][^=#]*?)\s*=", line)
        if header:
            table = _key_path(header[1])
            yield table, number
        elif key:
            yield (*table, *_key_path(key[1])), number


def _key_path(text: str) -> KeyPath:
    try:
        tree: Any = tomllib.loads(f"{text} = 0")
    except ValueError:
        return ()  # a line of a longer text that looks like a key
    path: KeyPath = ()
    while isinstance(tree, dict):
        if len(tree) != 1:
            return ()  # a comment, or more than a key
        ((key, tree),) = tree.items()
        path = (*path, key)
    return path


def _read_environment(given: Given, environ: Mapping[str, str]) -> None:
    layer: dict[KeyPath, object] = {}
    source: dict[KeyPath, str] = {}
    for name in sorted(n for n in environ if n.startswith("ULLAGE_")):
        text = environ[name]
        path = _VARIABLES.get("ULLAGE_LISTEN_TOKEN" if name == "ULLAGE_TOKEN" else name)
        if path is None and name not in OTHER_VARIABLES:
            close = get_close_matches(name, [*_VARIABLES, *OTHER_VARIABLES], 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            given.problems.append(Problem(name, f"unknown variable{hint}", "environment"))
        if not text.strip():
            continue  # set and empty is the way to unset one in many shells and units
        if name == "ULLAGE_ENGINES":
            _engines(given, layer, source, text, f"environment {name}")
        elif path is not None:
            if path in layer and layer[path] != text.strip():
                message = f"differs from {source[path].removeprefix('environment ')}; give one"
                given.problems.append(Problem(name, message, "environment"))
            form = _form(path)
            layer[path] = text if form is None else form.from_text(text)
            source[path] = f"environment {name}"
    given.lay(layer, source)


# The flags of `ullage run`; every other key is given by --set.
_FLAGS = {
    "mode": "--mode",
    "log_level": "--log-level",
    "log_format": "--log-format",
    "retention": "--retention",
    "keep_alive": "--keep-alive",
    "engines": "--engine",
    "listen.host": "--host",
    "listen.port": "--port",
    "listen.socket": "--socket",
    "listen.token_file": "--token-file",
    "gateway.port": "--gateway-port",
    "gateway.enabled": "--no-gateway",
}


def _read_flags(given: Given, flags: Mapping[str, object]) -> None:
    layer: dict[KeyPath, object] = {}
    source: dict[KeyPath, str] = {}
    for key, value in flags.items():
        if value is None or value == ():
            continue
        flag = f"flag {_FLAGS.get(key, f'--set {key}')}"
        if key == "engines":
            texts = [value] if isinstance(value, str) else value
            assert isinstance(texts, (list, tuple))
            _engines(given, layer, source, ",".join(texts), flag)
            continue
        path = path_of(key)
        form = _form(path)
        if form is not None and isinstance(value, (str, Path)):
            value = form.from_text(str(value))
        layer[path] = value
        source[path] = flag
    given.lay(layer, source)


def lay_overrides(given: Given, texts: Mapping[str, str]) -> None:
    """Put what was set while running on top of all else. By dotted key."""
    layer: dict[KeyPath, object] = {}
    for key, text in texts.items():
        path = path_of(key)
        form = _form(path)
        layer[path] = text if form is None else form.from_text(text)
    given.lay(layer, dict.fromkeys(layer, OVERRIDE))


def path_of(key: str) -> KeyPath:
    """A dotted key as it may stand in the file, quotes and all, in its parts."""
    if _PLAIN.fullmatch(key):  # most of them: TOML takes 80 µs for each
        return tuple(key.split("."))
    if len(key) > LONGEST:  # TOML takes the square of that
        return tuple(key.split("."))
    return _key_path(key) or tuple(key.split("."))


def _form(path: KeyPath) -> Form | None:
    """How the key at `path` is written. None: there is no such key."""
    table = table_at(path[:-1])
    return form_of(table, path[-1]) if table and path[-1] in table.model_fields else None


def _engines(
    given: Given,
    layer: dict[KeyPath, object],
    source: dict[KeyPath, str],
    text: str,
    whence: str,
) -> None:
    """Engines as name=url,name=url. One without a name is called after its port."""
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, equals, url = part.partition("=")
        if not equals or "://" in name:
            url = part
            port = re.search(r":(\d+)/?$", part)
            name = f"engine-{port[1] if port else 'https' if part[:5] == 'https' else 'http'}"
        path = ("engines", name.strip(), "url")
        if not _ENGINE.fullmatch(name.strip()):
            given.problems.append(
                Problem("engines", f"{shown(name)} is no name; write name=url,name=url", whence)
            )
        elif path in layer:
            message = f"two engines are called {name.strip()}; write name=url,name=url"
            given.problems.append(Problem("engines", message, whence))
        else:
            layer[path] = url.strip()
            source[path] = whence


def _put(tree: dict[str, Any], path: KeyPath, value: object) -> bool:
    """False where a value stands in the place of a table, which is a mistake of its own."""
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            return False
    tree[path[-1]] = value
    return True


def _cut(tree: dict[str, Any], path: KeyPath) -> None:
    for key in path[:-1]:
        tree = tree.get(key, {})
        if not isinstance(tree, dict):
            return
    tree.pop(path[-1], None)
