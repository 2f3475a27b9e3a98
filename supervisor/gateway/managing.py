"""Which paths of engines change what they have: models come and go, settings, the engine itself;
or end what it does for others.

Whoever may ask a model need not be allowed to delete it, nor to end somebody else's answer. A path
is judged by its words, however it is written, so that no engine's way of reading paths matters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from supervisor.config.templates import MODEL

# What engines call it when something is to change: found in the tables of paths of all of them.
_CHANGES: Final = (
    "adapter adapters backends blobs cache clusters collective configure continue copy create"
    " customnode delete download downloads edit evict free import inflight install instances jobs"
    " keys load log logging lora models options params pause pin props ps pull"
    " push register registrations release reload reset resume rpc scale server set setting settings"
    " sleep slots switch toggle train uninstall unpin unregister update users wake weight weights"
    " workers"
)
# What ends work, whoever's it is: most such calls name nobody.
_ENDS: Final = "abort interrupt skip stop"
# Even to look there does something: some engines take a GET for all of these.
_EVEN_LOOKS: Final = (
    "abort admin clear destroy dump flush freeze kill manager occupation reboot restart shutdown"
    " slow snapshot start stop unload upstream"
)
_LOOKS: Final = frozenset(_EVEN_LOOKS.split())
_WORDS: Final = _LOOKS | frozenset(_CHANGES.split()) | frozenset(_ENDS.split())
# The list of what waits or is kept: what is posted to it clears it, while what is posted below it
# may be work.
_LISTS: Final = frozenset(("history", "queue", "workflows"))
# Work by a path that has a model's name, in which any word may be, as the protocols of KServe,
# TensorFlow Serving and TorchServe have it.
_WORK: Final = re.compile(
    rb"/v[12]/models/\w[\w.@+-]*(?:/versions/\w[\w.-]*)?"
    rb"(?:/infer|/generate(?:_stream)?|:(?:predict|classify|regress|explain))"
    rb"|/predictions/\w[\w.@+-]*(?:/[\w.]+)?"
)
# ComfyUI's files, with any word in their names: those of its page, and what its user keeps.
_FILES: Final = re.compile(rb"/(?:api/)?(userdata|extensions)/(?!.*\.\.).+")
_SPLIT: Final = re.compile(rb"[^A-Za-z0-9]+")


_READS: Final = (b"GET", b"HEAD", b"OPTIONS")


def manages(method: bytes, path: bytes) -> bool:
    """Would this change what an engine has, or end others' work? `path` is decoded."""
    if method in (b"DELETE", b"PUT", b"PATCH"):
        return True
    words = _words_of(path)
    file = _FILES.fullmatch(path)
    if file is not None and (method in _READS or file[1] == b"userdata"):
        return False
    if method in _READS:
        return not _LOOKS.isdisjoint(words)
    if _WORK.fullmatch(path):
        return False
    return not _WORDS.isdisjoint(words) or not _LISTS.isdisjoint(words[-1:])


def ordered(method: bytes, path: bytes, orders: Iterable[tuple[str, str]]) -> bool:
    """Is it one of these, which the configuration says an engine changes by? Such a path has all of
    an order's words; to one that has none but a model's name, it is one word itself."""
    words = _words_of(path)
    return any(
        fixed.issubset(words) and (fixed or path.count(b"/") <= 1)
        for how, template in orders
        if method not in _READS or how == "GET"
        for fixed in [set(_words_of(template.partition("?")[0].replace(MODEL, "/").encode()))]
    )


def _words_of(path: bytes) -> list[str]:
    return [word.decode().lower() for word in _SPLIT.split(path) if word]
