"""Asks the daemon, for the command line. Standard library only: every command starts with this.

ClientError
  NoDaemon     nobody listens there
  Refused      it answered no: `status` and `problem` are as in RFC 9457
  Timeout      it did not answer in time; what was asked for may still happen
  Garbled      what answered is not Ullage, or hung up

Each says what happened, why, and what to try.
"""

from __future__ import annotations

import json
import os
import socket as sockets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from http.client import HTTPConnection
    from ssl import SSLError

DEFAULT_URL = "http://127.0.0.1:8552"
TIMEOUT = 10.0  # seconds, for a question: it is answered from memory
LONGEST = 86400.0  # seconds; sockets refuse more than a few weeks
MOST = 16 * 1024**2  # bytes: a state of ten thousand models is a quarter of this


class ClientError(Exception):
    """`what` happened, `why`, and what to `try_`: one line each, the last two may be empty."""

    def __init__(self, what: str, why: str = "", try_: str = "") -> None:
        super().__init__(what)
        self.what, self.why, self.try_ = what, why, try_


class BadAddress(ClientError):
    """The address or the token that was given cannot be used at all."""


class NoDaemon(ClientError):
    """Nobody listens."""


class Barred(NoDaemon):
    """Somebody may listen, and we may not ask."""


class Timeout(ClientError):
    """No answer in time."""


class Garbled(ClientError):
    """An answer that cannot be Ullage's, or half of one."""


class Refused(ClientError):
    """`problem` is the daemon's own, as a mapping; `closest` are the names it suggests."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, problem
        names = problem.get("closest")
        self.closest = tuple(str(n) for n in names) if isinstance(names, list) else ()
        detail = problem.get("detail") or problem.get("title") or f"it answered {status}"
        errors = problem.get("errors")  # every mistake of a body, in words
        why = "; ".join(str(e) for e in errors) if isinstance(errors, list) else ""
        super().__init__(str(detail), why, _scoped(problem) or _ADVICE.get(status, ""))


_ADVICE = {
    401: "give the daemon's token: --token-file FILE, or ULLAGE_TOKEN",
    403: "ask from the daemon's own machine, or with its token",
    429: "wait, and mend the token that is sent: --token-file FILE, or ULLAGE_TOKEN",
    421: "reach it by a name that it knows, as 127.0.0.1, or add to listen.allowed_hosts",
    503: "ask again in a second; `ullage status` says how it is",
}


def _scoped(problem: Mapping[str, Any]) -> str:
    """What to try where the caller has not the scope that it takes. "": that is not it."""
    needs = problem.get("needs")
    if not isinstance(needs, str):
        return ""
    return f"--token-file FILE or ULLAGE_TOKEN with one that has {needs}, or its socket as root"


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON object: as the daemon wrote it, and as a value."""

    text: str
    document: dict[str, Any]


class Client:
    """One daemon. `url` is http://HOST[:PORT], https://HOST[:PORT] or unix:/PATH; `socket` is a
    path and wins. `cafile` holds the certificates that its own is to be issued by; without it those
    count that the system trusts.

    What is not given comes from ULLAGE_URL, ULLAGE_TOKEN and ULLAGE_CAFILE. `timeout` in seconds
    bounds a call altogether. Raises BadAddress.
    """

    def __init__(
        self,
        url: str | None = None,
        socket: str | None = None,
        token: str | None = None,
        timeout: float = TIMEOUT,
        cafile: str | None = None,
    ) -> None:
        self.given = bool(socket or url or os.environ.get("ULLAGE_URL"))  # or is it a guess?
        url = f"unix:{socket}" if socket else url or os.environ.get("ULLAGE_URL") or DEFAULT_URL
        self.address = url
        self.token = token or os.environ.get("ULLAGE_TOKEN") or None
        self.timeout = max(0.001, min(timeout, LONGEST))
        self.cafile = cafile or os.environ.get("ULLAGE_CAFILE") or None
        self._path, self._host, self._port = _where(url)
        self._encrypts = url.lower().startswith("https:")
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise BadAddress("the token cannot be sent", "it is not one line of ASCII characters")

    @property
    def port(self) -> int | None:
        """None: it is a socket."""
        return self._port if self._path is None else None

    @property
    def is_here(self) -> bool:
        """Is the daemon on this machine, as far as its address tells?"""
        return self._path is not None or self._host in ("127.0.0.1", "localhost", "::1")

    def get(self, path: str, **query: object) -> Answer:
        """Ask. What is None is left out of the query. Raises ClientError."""
        return self._ask("GET", _target(path, query), None)

    def post(self, path: str, **body: object) -> Answer:
        """Have something done. What is None is left out of the body. Raises ClientError."""
        given = {k: v for k, v in body.items() if v is not None}
        return self._ask("POST", path, json.dumps(given).encode())

    def put(self, path: str, **body: object) -> Answer:
        """Have something set. Raises ClientError."""
        return self._ask("PUT", path, json.dumps(body).encode())

    def delete(self, path: str, **query: object) -> Answer:
        """Have something taken back. What is None is left out. Raises ClientError."""
        return self._ask("DELETE", _target(path, query), None)

    @contextmanager
    def stream(
        self, path: str, silence: float, query: Mapping[str, object], headers: Mapping[str, str]
    ) -> Iterator[Iterator[bytes]]:
        """An answer that goes on, line by line, until it ends or nothing comes for `silence`
        seconds. Raises ClientError before the first line, OSError or HTTPException later."""
        connection = self._connect()
        sock = connection.sock  # which the connection gives away to an answer that ends with it
        try:
            connection.request("GET", _target(path, query), None, {**self._headers(), **headers})
            response = connection.getresponse()
            if response.status != 200:
                document = _object(response.read(MOST))
                why = {"detail": f"{self.address} answered {response.status}"}
                raise Refused(response.status, document or why)
            sock.settimeout(silence)
            yield iter(lambda: response.readline(MOST), b"")
        finally:
            connection.close()
            sock.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json", "Connection": "close"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        return headers

    def _ask(self, method: str, target: str, body: bytes | None) -> Answer:
        headers = self._headers()
        if body is not None:
            headers["Content-Type"] = "application/json"
        connection = self._connect()
        with self._in_time(connection):
            connection.request(method, target, body, headers)
            response = connection.getresponse()
            raw = response.read(MOST + 1)
            if response.length and len(raw) <= MOST:  # it says how much, and sent less
                raise ConnectionError("the answer ends in the middle")
            status, kind = response.status, response.headers.get_content_type()
        if len(raw) > MOST:
            raise Garbled(f"the answer of {self.address} is too long", f"over {MOST >> 20} MiB")
        if not 200 <= status < 300:
            document = _object(raw) if "json" in kind else None
            raise Refused(status, document or {"detail": f"{self.address} answered {status}"})
        document = _object(raw)
        if document is None:
            raise Garbled(
                f"what answers at {self.address} is not Ullage",
                "its answer is not a JSON object",
                "name the right address: --url http://127.0.0.1:8552, or ULLAGE_URL",
            )
        return Answer(raw.decode(), document)

    def _connect(self) -> HTTPConnection:
        # Imported here: it costs as much as the rest of `ullage --help` together.
        from http.client import HTTPConnection

        if self._encrypts:
            return self._connect_by_tls()
        connection = HTTPConnection(self._host, self._port, timeout=self.timeout)
        try:
            if self._path is None:
                connection.connect()
            else:
                connection.sock = sockets.socket(sockets.AF_UNIX)
                connection.sock.settimeout(self.timeout)
                connection.sock.connect(self._path)
        except TimeoutError:
            connection.close()
            raise self._late() from None
        except OSError as error:
            connection.close()
            raise self._nobody(error) from None
        return connection

    def _connect_by_tls(self) -> HTTPConnection:
        import ssl
        from http.client import HTTPSConnection

        try:
            context = ssl.create_default_context(cafile=self.cafile)
        except OSError as error:  # an ssl.SSLError is one, too
            why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            what = f"{self.cafile} cannot be used for --cafile"
            raise BadAddress(what, why or "", "name a file in PEM") from None
        connection = HTTPSConnection(self._host, self._port, timeout=self.timeout, context=context)
        try:
            connection.connect()
        except TimeoutError:
            connection.close()
            raise self._late() from None
        except ssl.SSLError as error:
            connection.close()
            raise self._untrusted(error) from None
        except OSError as error:
            connection.close()
            raise self._nobody(error) from None
        return connection

    @contextmanager
    def _in_time(self, connection: HTTPConnection) -> Iterator[None]:
        """Hang up when the time is over: a socket's own timeout starts again with every byte."""
        from http.client import HTTPException

        sock, over = connection.sock, threading.Event()

        def hang_up() -> None:
            over.set()
            with suppress(OSError):
                sockets.socket.shutdown(sock, sockets.SHUT_RDWR)  # that of TLS is not for threads

        timer = threading.Timer(self.timeout, hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, HTTPException, ValueError) as error:
            if over.is_set() or isinstance(error, TimeoutError):
                raise self._late() from None
            raise Garbled(
                f"what answers at {self.address} hung up or does not speak HTTP",
                f"{type(error).__name__}: {error}",
                "look at the daemon's log; what was asked for may have happened",
            ) from None
        else:
            if over.is_set():
                raise self._late()
        finally:
            timer.cancel()
            connection.close()
            sock.close()

    def _nobody(self, error: OSError) -> NoDaemon:
        why = error.strerror or str(error)
        if isinstance(error, PermissionError):
            try_ = "run as a user who may open it, or give --url"
            return Barred(f"the daemon at {self.address} cannot be reached", why, try_)
        try_ = "start it with `ullage run`, or name its address: --url, --socket or ULLAGE_URL"
        return NoDaemon(f"no daemon answers at {self.address}", why, try_)

    def _untrusted(self, error: SSLError) -> NoDaemon:
        if (why := getattr(error, "verify_message", None)) is not None:
            try_ = "give who issued it as --cafile FILE or ULLAGE_CAFILE, and a name that it is for"
            return NoDaemon(f"the certificate of {self.address} is not trusted", why, try_)
        why = (error.reason or str(error)).replace("_", " ").lower()
        try_ = "see its log; one without TLS is named by http://"
        return NoDaemon(f"what answers at {self.address} does not speak TLS", why, try_)

    def _late(self) -> Timeout:
        return Timeout(
            f"no answer from {self.address} within {self.timeout:g} s",
            "the daemon is busy, or what was asked for takes longer; it may still happen",
            "ullage decisions · wait longer with --timeout 5m",
        )


def _target(path: str, query: Mapping[str, object]) -> str:
    from urllib.parse import urlencode

    given = {k: v for k, v in query.items() if v is not None}
    # A name that is no text comes from the shell as surrogates, and goes on as its bytes.
    text = urlencode(given, errors="surrogateescape")
    return f"{path}?{text}" if text else path


def _where(url: str) -> tuple[str | None, str, int]:
    """The path of a socket or None, and the host and port to name."""
    from urllib.parse import urlsplit

    right = "write http://127.0.0.1:8552, https://gpu.lan:8552 or unix:/run/ullage.sock"
    if url.startswith("unix:"):
        path = url.removeprefix("unix:").removeprefix("//")
        if not path or "\0" in path:
            raise BadAddress(f"{url!r} names no socket", try_=right)
        return path, "localhost", 80
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadAddress(f"{url!r} is no address", str(error), right) from None
    plain = host and host.isascii() and host.isprintable() and " " not in host
    if parts.scheme not in ("http", "https") or not host or not plain:
        raise BadAddress(f"{url!r} is no address of a daemon", try_=right)
    if parts.path.strip("/") or parts.query or parts.username is not None:
        raise BadAddress(f"{url!r} is more than an address", "a path or a user stands in it", right)
    return None, host, 8552 if port is None else port


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(raw.decode())
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
