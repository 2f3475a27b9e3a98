"""What an NVIDIA driver answered, written down once and answered again on any machine.

`Recorder` stands before the binding (nvidia-ml-py) and remembers; `Replay` stands in its place.
The file is JSON: by handle, by call, the answer. A handle is only an address, so it is named by
how it was come by: "gpu 0", or "gpu 0, slot 3" for a MIG device. Errors are {"error": code}.
"""

from __future__ import annotations

import ctypes
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FILE = "nvml.json"
LIBRARY = "library"  # whose calls take no handle
FUNCTION_NOT_FOUND = 13  # NVML's code for a driver that lacks a function
MISMATCH = "mismatch"  # what the binding raises where the library lacks the function's version
# Events have no answer, they arrive: a replay has none of these functions.
EVENTS = re.compile(r"nvml(System|Device)?(EventSet|RegisterEvents|GetSupportedEventTypes)")
PROGRAM_NAME = "nvmlSystemGetProcessName"  # answers with a path, which names users
UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Pseudonyms:
    """Another UUID for each UUID, the same one wherever it is seen: numbered as they appear."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def of(self, text: str) -> str:
        """`text` with every UUID in it replaced."""
        return UUID.sub(lambda found: self._other(found.group()), text)

    def serial(self, text: str) -> str:
        """A number to stand for a serial, with as many digits, all of them hexadecimal."""
        other = self._known.setdefault(text.strip().lower(), f"{len(self._known) + 1:x}")
        return other.zfill(len(text.strip()))

    def _other(self, uuid: str) -> str:
        number = len(self._known) + 1
        return self._known.setdefault(uuid.lower(), f"{number:08x}-0000-0000-0000-000000000000")


class Recorder:
    """Has every name that the binding has; its functions are asked and their answers kept."""

    def __init__(self, binding: Any, pseudonyms: Pseudonyms | None = None) -> None:
        self._binding = binding
        self._pseudonyms = pseudonyms or Pseudonyms()
        self._handles: dict[int, str] = {}  # address → name
        self.answers: dict[str, dict[str, Any]] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._binding, name)
        kept = _is_function(name, found) and not EVENTS.match(name)
        return self._recorded(name, found) if kept else found

    def save(self, path: Path) -> None:
        """Write what was answered so far. Raises OSError."""
        text = json.dumps(self.answers, indent=1, sort_keys=True, ensure_ascii=False)
        path.write_text(text + "\n")

    def _recorded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            who, what = _key(name, arguments, named, self._name_of)
            answers = self.answers.setdefault(who, {})
            try:
                answer = function(*arguments, **named)
            except self._binding.NVMLError as error:
                answers[what] = {"error": int(error.value)}
                raise
            except self._binding.NVMLLibraryMismatchError:
                answers[what] = {"error": MISMATCH}
                raise
            if isinstance(answer, ctypes._Pointer):
                self._handles.setdefault(_address(answer), _come_by(name, who, arguments))
            answers[what] = self._plain(answer, is_path=name == PROGRAM_NAME)
            return answer

        return call

    def _name_of(self, value: Any) -> str | None:
        """The name of a handle; None for anything else."""
        if not isinstance(value, ctypes._Pointer):
            return None
        return self._handles.setdefault(_address(value), f"handle {len(self._handles)}")

    def _plain(self, answer: Any, *, is_path: bool = False) -> Any:
        """As JSON has it. Structures become objects by field name; so does a lone C number, as
        whoever called reads its `value`."""
        if isinstance(answer, ctypes._Pointer):
            return {"handle": self._name_of(answer)}
        if isinstance(answer, bytes):
            answer = answer.decode(errors="replace")
        if isinstance(answer, str):
            return self._pseudonyms.of(answer.rpartition("/")[2] if is_path else answer)
        if isinstance(answer, float) and not math.isfinite(answer):
            return None  # the unused face of a union
        if answer is None or isinstance(answer, bool | int | float):
            return answer
        if isinstance(answer, ctypes._SimpleCData):
            return {"value": self._plain(answer.value)}
        if isinstance(answer, list | tuple | ctypes.Array):
            return [self._plain(item) for item in answer]
        if isinstance(answer, ctypes.Structure | ctypes.Union):
            names = [field[0] for field in answer._fields_]
            return {n: self._plain(getattr(answer, n)) for n in names}
        return {n: self._plain(value) for n, value in vars(answer).items()}


class Replay:
    """A binding that answers from a file; a call that is not in it, as an old driver would.

    Raises OSError or ValueError where the file is none of Recorder's.
    """

    def __init__(self, path: Path) -> None:
        import pynvml  # type: ignore[import-untyped,unused-ignore]  # loads no library by itself

        self._binding: Any = pynvml
        self._answers = json.loads(path.read_text())
        if not isinstance(self._answers, dict):
            raise ValueError(f"{path}: not a recording of a driver")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or EVENTS.match(name):
            raise AttributeError(name)
        found = getattr(self._binding, name)
        return self._answering(name) if _is_function(name, found) else found

    def _answering(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            who, what = _key(name, arguments, named, _token)
            answer = self._answers.get(who, {}).get(what, {"error": FUNCTION_NOT_FOUND})
            if isinstance(answer, dict) and "error" in answer:
                if answer["error"] == MISMATCH:
                    raise self._binding.NVMLLibraryMismatchError(name)
                raise self._binding.NVMLError(answer["error"])
            return _revived(answer)

        return call


class _Handle(str):
    """What a replayed driver gives out in place of an address."""

    __slots__ = ()


def _token(value: Any) -> str | None:
    return str(value) if isinstance(value, _Handle) else None


def _revived(answer: Any) -> Any:
    if isinstance(answer, list):
        return [_revived(item) for item in answer]
    if isinstance(answer, dict):
        if answer.keys() == {"handle"}:
            return _Handle(answer["handle"])
        return SimpleNamespace(**{name: _revived(value) for name, value in answer.items()})
    return answer


def _is_function(name: str, found: Any) -> bool:
    return name.startswith("nvml") and callable(found) and not isinstance(found, type)


def _key(
    name: str,
    arguments: tuple[Any, ...],
    named: Mapping[str, Any],
    handle: Callable[[Any], str | None],
) -> tuple[str, str]:
    """Whom a call asks, and what: ("gpu 0", "nvmlDeviceGetMemoryInfo version=33554472")."""
    who = handle(arguments[0]) if arguments else None
    words = [name]
    words += [handle(a) or json.dumps(a) for a in arguments[0 if who is None else 1 :]]
    words += [f"{n}={json.dumps(value)}" for n, value in sorted(named.items())]
    return who or LIBRARY, " ".join(words)


def _come_by(name: str, who: str, arguments: tuple[Any, ...]) -> str:
    if name == "nvmlDeviceGetHandleByIndex":
        return f"gpu {arguments[0]}"
    if name == "nvmlDeviceGetMigDeviceHandleByIndex":
        return f"{who}, slot {arguments[1]}"
    return " ".join((who, name, *(str(a) for a in arguments if isinstance(a, int | str))))


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0
