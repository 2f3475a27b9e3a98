"""Whoever answers at a Unix socket as a test wants it, and what was asked there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

Answers = dict[tuple[str, str], tuple[int, Any]]


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True


class Desk:
    """`answers` are statuses and documents by method and path; bytes go as they are, and what can
    be called is called anew each time. With a `token` whoever sends another hears 401."""

    def __init__(self, path: Path, answers: Answers, token: str | None = None) -> None:
        self.path, self.answers, self.token = path, answers, token
        self.asked: list[tuple[str, str, Any]] = []


@contextmanager
def serving(path: Path, answers: Answers, token: str | None = None) -> Iterator[Desk]:
    desk = Desk(path, answers, token)

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            where = self.path.partition("?")[0]
            desk.asked.append((self.command, self.path, json.loads(raw) if raw else None))
            status, body = desk.answers.get((self.command, where), (404, {"detail": "no route"}))
            if desk.token is not None and self.headers["authorization"] != f"Bearer {desk.token}":
                status, body = 401, {"detail": "no such token"}
            body = body() if callable(body) else body
            text = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "unix"

    with _Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield desk
        finally:
            server.shutdown()
            thread.join()
