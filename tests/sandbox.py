"""The unit's sandbox, as far as a process can put itself into it without systemd."""

from __future__ import annotations

import ctypes
import os
import re
import struct
import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

NUMBERS = (
    Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    Path("/usr/include/asm/unistd_64.h"),
)
X86_64 = 0xC000003E  # of linux/audit.h

# Of linux/prctl.h, seccomp.h, filter.h, errno.h and capability.h.
SET_NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM = 1
CAPSET, VERSION_3 = 126, 0x20080522


@cache
def calls(name: str) -> frozenset[str]:
    """The system calls of a set such as @system-service, as this machine's systemd has it."""
    words = ("systemd-analyze", "syscall-filter", "--no-pager", name)
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    listed = [line.strip() for line in said.splitlines()[1:]]
    found: set[str] = set()
    for word in listed:
        if word and not word.startswith("#"):
            found |= calls(word) if word.startswith("@") else {word}
    return frozenset(found)


def allowed(filters: Iterable[str]) -> frozenset[str]:
    """What lines of SystemCallFilter= leave, the first of which allows."""
    found: set[str] = set()
    for line in filters:
        named = set[str]()
        for word in line.removeprefix("~").split():
            named |= calls(word) if word.startswith("@") else {word}
        found = found - named if line.startswith("~") else found | named
    return frozenset(found)


def numbers() -> dict[str, int]:
    file = next((f for f in NUMBERS if f.exists()), None)
    if file is None:
        return {}
    pairs = re.findall(r"#define __NR_(\w+)\s+(\d+)", file.read_text())
    return {name: int(number) for name, number in pairs}


def program(names: frozenset[str]) -> bytes:
    """A seccomp filter: these calls, and EPERM for all others."""
    known = numbers()
    wanted = sorted(known[name] for name in names & known.keys())
    parts = [(LOAD, 0, 0, 4), (EQUALS, 1, 0, X86_64), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    for number in wanted:  # each by itself: no jump is longer than one
        parts += [(EQUALS, 0, 1, number), (RETURN, 0, 0, ALLOW)]
    parts.append((RETURN, 0, 0, REFUSE | EPERM))
    return b"".join(struct.pack("=HBBI", *part) for part in parts)


def enter(names: frozenset[str], groups: Sequence[int] | None = None) -> Callable[[], None]:
    """For a child, before it starts the program: no capability, no new ones, these calls; in
    `groups` besides its own, where they are given, which takes root."""
    code = program(names)
    held = ctypes.create_string_buffer(code, len(code))
    length = ctypes.c_ushort(len(code) // 8)
    filter_ = struct.pack("=H6xQ", length.value, ctypes.addressof(held))
    head = struct.pack("=Ii", VERSION_3, 0)
    none = bytes(24)
    libc = ctypes.CDLL(None, use_errno=True)

    def inside() -> None:
        _ = held  # lives as long as this does
        if groups is not None:
            os.setgroups(groups)
        if libc.prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(CAPSET, head, none):
            raise OSError(ctypes.get_errno(), "capset")
        if libc.prctl(SET_SECCOMP, FILTER, filter_, 0, 0):
            raise OSError(ctypes.get_errno(), "seccomp")

    return inside
