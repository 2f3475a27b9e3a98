"""When a streamed answer begins to say something: not with its head, nor with the events and lines
that only announce it. No I/O."""

from __future__ import annotations

import re
from typing import Final

# What an answer says, in the APIs that stream: text, thoughts, calls of tools, pictures. An empty
# string says nothing.
_SAYS: Final = re.compile(
    rb'"(?:content|text|delta|response|thinking|reasoning|reasoning_content|refusal|arguments'
    rb'|partial_json|b64_json|transcript)"\s*:\s*"[^"]'
    rb'|"tool_calls"\s*:\s*\[\s*\{|"type"\s*:\s*"tool_use"'
)
_STREAMS: Final = (b"text/event-stream", b"application/x-ndjson")
_TAIL: Final = 48  # bytes of the last piece in which something may have begun
MOST: Final = 64 * 1024  # bytes that are looked through: later it is nobody's first word


def streams(status: int, content_type: bytes) -> bool:
    """Is it an answer that comes piece by piece?"""
    return status < 300 and content_type.startswith(_STREAMS)


class Opening:
    """The beginning of one answer. It is over when something was `said`, or too much came without
    a word that is known."""

    __slots__ = ("_left", "_tail", "said")

    def __init__(self) -> None:
        self._tail = b""
        self._left = MOST
        self.said = False

    def over(self, data: bytes) -> bool:
        """`data` is the next piece, in whatever framing."""
        seen = self._tail + data
        self._left -= len(data)
        self._tail = seen[-_TAIL:]
        self.said = _SAYS.search(seen) is not None
        return self.said or self._left <= 0
