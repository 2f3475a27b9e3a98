"""Plays captures back: real answers, by method and path, through httpx's own transport."""

import json
from pathlib import Path
from urllib.parse import unquote

import httpx

CAPTURES = Path(__file__).parent / "captures"


def capture(name):
    return json.loads((CAPTURES / f"{name}.json").read_text())


class Replay:
    """A client's other side. The first reply that fits is given; `asked` is what was asked.

    A reply with a `request` fits only where the body says the same. What fits nothing gets
    the capture's answer to unknown paths.
    """

    def __init__(self, *captures):
        self.replies = [reply for c in captures for reply in c["replies"]]
        # As bare as can be, where a capture does not say how unknown paths are answered.
        self.elsewhere = next(
            (c["elsewhere"] for c in captures if "elsewhere" in c), {"status": 404}
        )
        self.asked = []

    def client(self):
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request):
        call = f"{request.method} {unquote(request.url.raw_path.decode())}"
        body = json.loads(request.content) if request.content else {}
        self.asked.append((call, body))
        for reply in self.replies:
            if reply["call"] == call and reply.get("request", {}).items() <= body.items():
                return _response(reply)
        return _response(self.elsewhere)


def _response(reply):
    if "body" in reply:
        return httpx.Response(reply["status"], json=reply["body"])
    return httpx.Response(reply["status"], text=reply.get("text", ""))


def always(content=b"", status=200, headers=None):
    """A client to whom everything is answered alike."""
    respond = lambda request: httpx.Response(status, content=content, headers=headers)  # noqa: E731
    return httpx.AsyncClient(transport=httpx.MockTransport(respond))
