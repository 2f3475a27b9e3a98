"""Another account, for a moment. It takes root to be one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVICE = 61234  # an account that has no name, as a service's own while it does not run


@contextmanager
def acting_as(uid: int, gid: int | None = None, groups: tuple[int, ...] = ()) -> Iterator[None]:
    """`gid` None: a group of the same number."""
    before = os.getgroups()
    os.setgroups(groups)
    os.setegid(uid if gid is None else gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


@contextmanager
def folder_of_all() -> Iterator[Path]:
    """One that other accounts may enter, as a test's own folder is not."""
    with tempfile.TemporaryDirectory() as made:
        os.chmod(made, 0o755)
        yield Path(made)


@contextmanager
def folder_of_others() -> Iterator[Path]:
    """One in such a folder, that no other account may look into."""
    with folder_of_all() as made:
        closed = made / "closed"
        closed.mkdir(mode=0o700)
        yield closed
