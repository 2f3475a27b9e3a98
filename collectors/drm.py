"""Graphics cards and their clients, as Linux's DRM subsystem tells them: sysfs and fdinfo.

A client is one open device file. It may be open in several processes, by fork or over a
socket, and each of them shows all of its memory: so it is told apart by its id and given once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .reading import Bytes

DRM, ACCEL = 226, 261  # majors of the character devices: Documentation/admin-guide/devices.txt
SUSPENDED = "suspended"  # what runtime_status() says of a card that the kernel powered down

# The kernel takes the largest unit that divides the number: an exact MiB is not in KiB.
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"\s*([0-9]{1,20})(?:\s+([A-Za-z]+))?\s*")
_NUMBER = re.compile(r"-?[0-9]{1,20}")
_CARD = re.compile(r"card([0-9]+)")  # its connectors are there too: card0-DP-1
# Of what a region is told, later ones count more: amdgpu alone has the second, now deprecated.
_PARTS = ("drm-total-", "drm-memory-", "drm-resident-")
_CYCLES = "drm-total-cycles-"  # a counter of an engine, no memory


@dataclass(frozen=True, slots=True)
class Client:
    """One open device file. `pids` are all that hold it, lowest first; `pci` is "" off the bus."""

    driver: str
    pci: str  # as in sysfs: 0000:03:00.0
    id: str
    pids: tuple[int, ...]
    fields: dict[str, str]

    @property
    def memory(self) -> dict[str, Bytes]:
        """Bytes by region, as the driver names it: resident if told, else what was requested."""
        found: dict[str, Bytes] = {}
        for part in _PARTS:
            for key, text in self.fields.items():
                if key.startswith(part) and not key.startswith(_CYCLES):
                    told = size(text)
                    if told is not None:
                        found[key[len(part) :]] = told
        return found


@dataclass(frozen=True, slots=True)
class Card:
    """One card in sys/class/drm. `path` is its device's folder, `vendor` its PCI vendor id."""

    index: int
    path: Path
    pci: str
    vendor: int
    driver: str | None
    render: str | None  # as in /dev/dri: renderD128


def size(text: str) -> Bytes | None:
    """Bytes of a number with or without unit. None where it is no such thing."""
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    factor = _UNITS.get(match[2] or "")
    return None if factor is None else Bytes(int(match[1]) * factor)


def parse(text: str) -> dict[str, str] | None:
    """The fields of a DRM client's fdinfo. None for any other open file's."""
    lines = (line.partition(":") for line in text.splitlines())
    fields = {key.strip(): value.strip() for key, colon, value in lines if colon}
    return fields if fields.get("drm-driver") else None


def clients(
    root: Path, pids: Iterable[int] | None = None, only: Collection[str] | None = None
) -> list[Client]:
    """Every client that these processes (None: all) hold, each once.

    Of devices, those with a PCI address in `only` (None: all): some drivers wake a sleeping
    card to answer, and the others' files are not opened. Processes that end meanwhile, or may
    not be looked at, are left out.
    """
    may_be = Devices(root, only).has if root == Path("/") else _anything
    holders: dict[tuple[str, str, str], set[int]] = {}
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    for pid in all_pids(root) if pids is None else sorted(set(pids)):
        for text in _fdinfo(f"{root}/proc/{pid}", may_be):
            fields = parse(text)
            if fields is None or "drm-client-id" not in fields:
                continue
            key = fields["drm-driver"], fields.get("drm-pdev", ""), fields["drm-client-id"]
            if only is None or key[1] in only:
                holders.setdefault(key, set()).add(pid)
                found.setdefault(key, fields)
    return [Client(*key, tuple(sorted(holders[key])), found[key]) for key in found]


def all_pids(root: Path) -> list[int]:
    """Every process, lowest first."""
    try:
        return sorted(int(name) for name in os.listdir(root / "proc") if name.isdecimal())
    except OSError:
        return []


def nodes(root: Path) -> list[Card]:
    """The cards on a PCI bus, by index. Wakes none of them."""
    folder = root / "sys/class/drm"
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    indexes = sorted(int(match[1]) for match in map(_CARD.fullmatch, names) if match)
    cards = (_card(index, folder / f"card{index}" / "device") for index in indexes)
    return [card for card in cards if card is not None]


def runtime_status(card: Card) -> str | None:
    """The kernel's power state of a card: "active", "suspended" ... Does not wake it."""
    return attribute(f"{card.path}/power/runtime_status")


def attribute(path: Path | str) -> str | None:
    """The text of a small file of sysfs. None if it is not there, or the driver refuses now."""
    text = _text(str(path))
    return None if text is None else text.strip()


def number(path: Path | str) -> int | None:
    """The decimal number in a small file of sysfs. None where there is none."""
    text = attribute(path) or ""
    return int(text) if _NUMBER.fullmatch(text) else None


def hexadecimal(path: Path | str) -> int | None:
    """The hexadecimal number in a small file of sysfs, as PCI ids are. None where there is none."""
    try:
        return int(attribute(path) or "", 16)
    except ValueError:
        return None


def _card(index: int, path: Path) -> Card | None:
    folder = str(path)
    lines = (attribute(f"{folder}/uevent") or "").splitlines()
    event = dict(line.split("=", 1) for line in lines if "=" in line)
    vendor = hexadecimal(f"{folder}/vendor")
    if vendor is None:
        return None
    try:
        pci = event.get("PCI_SLOT_NAME") or path.readlink().name
    except OSError:
        return None  # a virtual card, or part of a chip
    try:
        renders = [name for name in os.listdir(f"{folder}/drm") if name.startswith("renderD")]
    except OSError:
        renders = []
    return Card(index, path, pci, vendor, event.get("DRIVER"), min(renders, default=None))


class Devices:
    """Which open files of this machine are DRM devices, of the PCI addresses that are wanted."""

    def __init__(self, root: Path, only: Collection[str] | None) -> None:
        self._root, self._only = root, only
        self._wanted: dict[int, bool] = {}  # by device number

    def has(self, file: str) -> bool:
        # A link is read without asking the file's own system, which may be a server that hangs.
        if "/dev/" not in os.readlink(file):
            return False
        device = os.stat(file).st_rdev
        if device not in self._wanted:
            self._wanted[device] = self._wants(os.major(device), os.minor(device))
        return self._wanted[device]

    def _wants(self, major: int, minor: int) -> bool:
        if major not in (DRM, ACCEL):
            return False
        if self._only is None:
            return True
        try:
            link = self._root / f"sys/dev/char/{major}:{minor}/device"
            return link.readlink().name in self._only
        except OSError:
            return True  # its own text will tell


def _anything(file: str) -> bool:
    """In a recorded tree there are no devices: the text alone tells."""
    return True


def _fdinfo(process: str, may_be: Callable[[str], bool]) -> Iterator[str]:
    try:
        names = os.listdir(f"{process}/fd")
    except OSError:
        return  # it ended, or belongs to someone else
    for name in names:
        try:
            wanted = may_be(f"{process}/fd/{name}")
        except OSError:
            continue  # closed meanwhile
        text = _text(f"{process}/fdinfo/{name}") if wanted else None
        if text is not None:
            yield text


def _text(path: str) -> str | None:
    try:
        # A plain read: open() takes 2.5 times as long, and fdinfo is one page at most.
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(file, 16384).decode(errors="replace")
        finally:
            os.close(file)
    except OSError:
        return None
