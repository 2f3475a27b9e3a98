"""Whose certificates are trusted besides, or in place of, those that the system trusts: a file."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from .certificates import CertificateError, whole

CA: str = "ca_file"

_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def read(file: Path) -> str:
    """The certificates in a file, in PEM, without what stands between them. Raises
    CertificateError."""
    blocks = _BLOCK.findall(whole(file, CA))
    if not blocks:
        right = "put the certificate of who issues those of the other hosts into it"
        raise CertificateError(CA, f"{file} holds no certificate in PEM; {right}")
    pem = b"\n".join(blocks).decode("ascii", "replace") + "\n"
    try:
        trusting(pem)
    except (ssl.SSLError, ValueError) as error:
        why = getattr(error, "reason", None) or str(error)
        broken = f"{file} holds a certificate that cannot be read: {why.replace('_', ' ').lower()}"
        raise CertificateError(CA, broken) from None
    return pem


def trusting(pem: str | None) -> ssl.SSLContext:
    """For connections to who has a certificate of these; None: of those that the system trusts."""
    return ssl.create_default_context(cadata=pem)
