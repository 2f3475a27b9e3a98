"""Sockets to listen on, bound by ourselves so that a failure can be said in words."""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from pathlib import Path

from .accounts import SocketMode

log = logging.getLogger("ullage")

PATIENCE = 0.5  # seconds in which whoever serves a unix socket answers


class ListenError(Exception):
    """The address cannot be had. The message says why and what to do."""


def tcp(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port`; port 0 takes any that is free."""
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # By its protocol asyncio knows that small writes are not to wait for one another: without
        # it every answer on a connection that is kept takes 40 ms.
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {shown}: {error.strerror or error}") from error
    try:
        # A port whose last connections linger may be taken again; one that is served may not.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            text = f"{shown} is in use, probably by another ullage; stop it or choose another"
            raise ListenError(f"{text} with --port") from error
        raise ListenError(f"cannot listen on {shown}: {error.strerror}") from error
    bound.setblocking(False)
    return bound


def unix(
    path: Path, mode: SocketMode = SocketMode.GROUP, group: int | None = None
) -> socket.socket:
    """A socket at `path`, for whom `mode` says; its group is `group`, where we may give it that.
    One that nobody serves any more is replaced."""
    _clear(path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # never open to others, not even before a chmod
    try:
        bound.bind(str(path))
        if group is not None:
            _give(path, group)
        os.chmod(path, mode.bits)
        bound.listen()
    except OSError as error:
        bound.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    bound.setblocking(False)
    return bound


def _give(path: Path, group: int) -> None:
    """Nothing is asked of the kernel where it is that group's already: who started us may have let
    us into no other, and have forbidden the call."""
    try:
        if path.lstat().st_gid == group:
            return
        os.chown(path, -1, group, follow_symlinks=False)
    except OSError as error:
        text = "%s stays with another group than %d, whose members cannot open it: %s"
        log.warning(text, path, group, error.strerror)


def _clear(path: Path) -> None:
    """Remove what an ullage that was killed left behind, and nothing else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"cannot listen on {path}: {error.strerror}") from error
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"cannot listen on {path}: it is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise ListenError(f"cannot listen on {path}: {error.strerror or error}") from error
    text = f"{path} is in use, probably by another ullage; stop it or choose another"
    raise ListenError(f"{text} with listen.socket")


def same_file(path: Path, seen: os.stat_result) -> bool:
    """Is the file at `path` still the one that was `seen`?"""
    try:
        now = path.lstat()
    except OSError:
        return False
    return (now.st_dev, now.st_ino) == (seen.st_dev, seen.st_ino)
