"""Which paths of engines change what they have: models come and go, settings, the engine itself.

Whoever may ask a model need not be allowed to delete it. A path is judged by its words, however it
is written, so that no engine's way of reading paths matters.
"""

from __future__ import annotations

import re
from typing import Final

# What engines call it when something is to change: found in the tables of paths of all of them.
_CHANGES: Final = (
    "admin adapter backends blobs collective configure copy create delete evict flush free import"
    " install kill load lora occupation options params pause pin props pull push register release"
    " reload reset restart resume rpc server set settings shutdown sleep slots toggle uninstall"
    " unload unpin unregister update upstream wake"
)
_WORDS: Final = frozenset(_CHANGES.split())
# Even to look there does something.
_LOOKS: Final = frozenset(("admin", "kill", "restart", "shutdown", "unload", "upstream"))
_SPLIT: Final = re.compile(rb"[^A-Za-z0-9]+")


def manages(method: bytes, path: bytes) -> bool:
    """Would this change what an engine has? `path` is decoded."""
    if method in (b"DELETE", b"PUT", b"PATCH"):
        return True
    words = {word.decode().lower() for word in _SPLIT.split(path)}
    looks = method in (b"GET", b"HEAD", b"OPTIONS")
    return not words.isdisjoint(_LOOKS if looks else _WORDS)
