"""Which files a model is made of: one, several in pieces, a folder, or a name in a cache."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from .gguf import Unreadable
from .safetensors import MOST, parsed

PIECE = re.compile(
    r"(.*-)00001-of-(\d{5})(\.gguf)", re.DOTALL
)  # the first file of a model in pieces
PIECES = 1000
REPOSITORY = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")  # of one quantization, or any
INDEX = "model.safetensors.index.json"
CONFIG = "config.json"
PROJECTOR = "mmproj"  # what lets a model see; llama.cpp has it beside the model


def find(name: str, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file or folder that an engine means by `name`. None: it is not on this machine.

    A path is taken as it is, if it is a whole one; a name like org/model is looked for in Hugging
    Face's cache, where vLLM, SGLang and others have their models.
    """
    if os.path.isabs(name):
        path = Path(name)
        return path if path.exists() else None
    if (repository := REPOSITORY.fullmatch(name)) is None:
        return None
    plain, kind = repository.groups()
    folder = _hub(environment) / f"models--{plain.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text(errors="replace")[:100].strip()
        snapshot = folder / "snapshots" / revision
    except OSError:
        return None
    if "/" in revision or not snapshot.is_dir():
        return None
    return snapshot if kind is None else _of_kind(snapshot, kind)


def _of_kind(folder: Path, kind: str) -> Path | None:
    """The first GGUF file of one quantization, as "Q4_K_M"."""
    files = (f for f in sorted(folder.rglob("*.gguf")) if not _is_projector(f))
    return next((f for f in islice(files, PIECES) if kind.lower() in f.name.lower()), None)


def _is_projector(file: Path) -> bool:
    return PROJECTOR in file.name.lower()


def _hub(environment: Mapping[str, str]) -> Path:
    if cache := environment.get("HF_HUB_CACHE"):
        return Path(cache)
    home = environment.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"


def pieces(path: Path) -> tuple[Path, ...]:
    """Every file that `path` stands for, the one that tells most first. Raises Unreadable."""
    if path.is_dir():
        return _of_folder(path)
    if (found := PIECE.fullmatch(str(path))) is None:
        return (path,)
    start, count, end = found.groups()
    if not 0 < int(count) <= PIECES:
        raise Unreadable(f"it says that it has {int(count)} pieces")
    return tuple(Path(f"{start}{i:05}-of-{count}{end}") for i in range(1, int(count) + 1))


def _of_folder(folder: Path) -> tuple[Path, ...]:
    index = folder / INDEX
    if index.is_file():
        names = read_json(index).get("weight_map")
        told = list(names.values()) if isinstance(names, dict) else []
        if not told or not all(map(_is_plain, told)) or len(files := set(told)) > PIECES:
            raise Unreadable(f"{INDEX} names no files, or strange ones")
        return tuple(sorted(folder / name for name in files))
    for pattern in ("*.safetensors", "*.gguf"):
        found = [f for f in sorted(folder.glob(pattern)) if not _is_projector(f)]
        if found := found[:PIECES]:
            return pieces(found[0]) if pattern == "*.gguf" else tuple(found)
    raise Unreadable("there are no weights in it")


def _is_plain(name: object) -> bool:
    """A file of this very folder, and not of one that it leads to."""
    return isinstance(name, str) and name == os.path.basename(name) and name not in ("", ".", "..")


def read_json(path: Path) -> Mapping[str, object]:
    """A JSON object in a file. Raises Unreadable, or OSError."""
    with path.open("rb") as file:
        data = file.read(MOST + 1)
    if len(data) > MOST:
        raise Unreadable(f"{path.name} is too long")
    return parsed(data)
