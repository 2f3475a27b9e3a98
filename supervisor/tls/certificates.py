"""A certificate and its key, in files: read with care, and anew when they change.

Whoever connects gets the newest that is good. A broken one is refused and told, and the one before
it stays in use.
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from collectors.reading import Seconds
from supervisor.aside import Aside
from supervisor.config import plain_file
from supervisor.config.given import Stamp, stamp_of
from supervisor.telemetry.redact import plain

from .validity import Validity, validity

log = logging.getLogger("ullage.tls")

EVERY = Seconds(2.0)
DEADLINE = Seconds(5.0)  # for a disk, or a share that does not answer
LARGEST = 1024**2  # bytes
DAY = 86400.0
SOON = 14 * DAY  # before its end: who renews certificates by itself has done so by then

CERT, KEY = "tls_cert", "tls_key"
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")


class CertificateError(Exception):
    """It cannot be served. `about` is the setting, and the message says what is wrong with it."""

    def __init__(self, about: str, message: str) -> None:
        super().__init__(plain(message))  # a path may be called anything
        self.about = about


class Files(NamedTuple):
    cert: Path
    key: Path


def pair(cert: Path | None, key: Path | None) -> Files | None:
    """None: one of them is not there."""
    return None if cert is None or key is None else Files(cert, key)


@dataclass(slots=True)
class Certificate:
    """Of one listener: "API" or "gateway". `load` comes first; `look` is called now and then.

    `fault`: why newer files are not in use. None: they are.
    """

    listener: str
    files: Files
    wall: Callable[[], float] = field(default=lambda: time.time())
    fault: str | None = None
    valid: Validity | None = None  # None: not known
    aside: Aside = field(default_factory=lambda: Aside("certificates"))
    _context: ssl.SSLContext | None = None
    _known: tuple[Stamp, ...] = ()  # of what was read last, whatever came of it
    _seen: tuple[Stamp, ...] = ()  # at the latest look, where that was another
    _said: float | None = None  # when its end was told last

    @classmethod
    def of(cls, listener: str, cert: Path | None, key: Path | None) -> Certificate | None:
        """None: it speaks no TLS."""
        files = pair(cert, key)
        return None if files is None else cls(listener, files)

    @property
    def context(self) -> ssl.SSLContext:
        """For the next connection."""
        assert self._context is not None
        return self._context

    @property
    def ends(self) -> float | None:
        """Unix time. None: not known."""
        return None if self.valid is None else self.valid.ends

    @property
    def ended(self) -> bool:
        return self.ends is not None and self.ends <= self.wall()

    def load(self) -> None:
        """Reads the files. Raises CertificateError; then what was in use still is."""
        self._known, self._seen = self._stamps(), ()
        context, valid = read(self.files)
        if self._context is not None and not self.ended and _is_over(valid, self.wall()):
            raise CertificateError(CERT, f"{self.files.cert} {over(valid)}")
        self._context, self.valid = context, valid
        self.fault = self._said = None

    async def look(self) -> None:
        """Once. Reads files that are others than before, when they have come to rest."""
        with suppress(TimeoutError):  # a share that hangs tells nothing new; what is in use ends
            await self.aside.call(self._look, DEADLINE)
        self._tell()

    def _look(self) -> None:
        now = self._stamps()
        if now == self._known:
            self._seen = ()
        elif now != self._seen:
            self._seen = now  # the certificate may be written, and its key not yet
        else:
            try:
                self.load()
            except CertificateError as error:
                self.fault = f"{error.about}: {error}"
                stays = "the one before stays in use"
                log.error("the new certificate of the %s: %s; %s", self.listener, self.fault, stays)
            else:
                log.info("the certificate of the %s is new: %s", self.listener, self.said)

    def _stamps(self) -> tuple[Stamp, ...]:
        return tuple(map(stamp_of, self.files))

    @property
    def said(self) -> str:
        """How long it is good for, in words."""
        return (
            "its end is not known" if self.valid is None else f"good until {day(self.valid.ends)}"
        )

    @property
    def trouble(self) -> str | None:
        """What is wrong with how long it is good for. None: nothing."""
        now = self.wall()
        if self.valid is None:
            return None
        if self.valid.ends <= now:
            return f"its certificate {over(self.valid)}, and clients refuse it"
        if self.valid.begins > now:
            begins = day(self.valid.begins)
            return f"its certificate begins on {begins}, and clients refuse it until then"
        if self.valid.ends - now < SOON:
            days = int((self.valid.ends - now) / DAY)
            left = "in less than a day" if not days else f"in {days} day{'s' if days > 1 else ''}"
            return f"its certificate ends {left}, on {day(self.valid.ends)}"
        return None

    def _tell(self) -> None:
        """Once a day."""
        now = self.wall()
        if self.trouble is None or (self._said is not None and 0 <= now - self._said < DAY):
            return
        self._said = now
        log.warning("the %s: %s; renew %s", self.listener, self.trouble, self.files.cert)


def read(files: Files) -> tuple[ssl.SSLContext, Validity | None]:
    """What serves them. Raises CertificateError."""
    cert = whole(files.cert, CERT)
    key = whole(files.key, KEY, secret=True)
    if b"-----BEGIN CERTIFICATE-----" not in cert:
        raise CertificateError(CERT, f"{files.cert} holds no certificate in PEM")
    if any(mark in key for mark in _ENCRYPTED):
        why = "is encrypted, and nobody is there to give its password; write it without, as"
        how = f"`openssl pkey -in {files.key.name} -out server.key`, and chmod 600 it"
        raise CertificateError(KEY, f"{files.key} {why} {how}")
    if b"PRIVATE KEY-----" not in key:
        raise CertificateError(KEY, f"{files.key} holds no private key in PEM")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.cert, files.key, password=lambda: "")
    except ssl.SSLError as error:
        raise _refused(files, error) from None
    except OSError as error:
        name = error.filename or files.cert
        raise CertificateError(CERT, f"{name} cannot be read: {error.strerror}") from None
    return context, validity(cert)


def _refused(files: Files, error: ssl.SSLError) -> CertificateError:
    cert, key = files
    reason = error.reason or str(error)
    if reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
        return CertificateError(KEY, f"{key} is not the key of the certificate in {cert}")
    if reason.endswith(("KEY_TOO_SMALL", "MD_TOO_WEAK")):
        why = "is too weak for any client of today; make a key of RSA 2048 or P-256, with SHA-256"
        return CertificateError(CERT, f"{cert} {why}")
    why = reason.replace("_", " ").lower()
    return CertificateError(CERT, f"{cert} and its key cannot be used: {why}")


def whole(file: Path, about: str, *, secret: bool = False) -> bytes:
    """What is in a file in PEM. Raises CertificateError."""
    try:
        found = plain_file.read(file, LARGEST + 1)
    except plain_file.NotPlain:
        raise CertificateError(about, f"{file} is no plain file; name a file in PEM") from None
    except IsADirectoryError:
        raise CertificateError(about, f"{file} is a folder; name a file in PEM") from None
    except OSError as error:
        why = plain_file.why(file, error)
        raise CertificateError(about, f"{file} cannot be read: {why}") from None
    if len(found.content) > LARGEST:
        raise CertificateError(about, f"{file} is too large for a file in PEM: over 1 MiB")
    if secret and found.is_open:
        raise CertificateError(about, f"{file} is open to everybody; chmod 640 it")
    return found.content


def _is_over(valid: Validity | None, now: float) -> bool:
    return valid is not None and valid.ends <= now


def over(valid: Validity | None) -> str:
    """Why it is not good any more."""
    return "" if valid is None else f"has expired on {day(valid.ends)}"


def day(at: float) -> str:
    """A day in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
