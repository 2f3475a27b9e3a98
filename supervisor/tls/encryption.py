"""What works against whoever encrypts, and against whoever does not: words for the doctor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from supervisor.doctor import Advice

from .certificates import Certificate


def of_certificates(certificates: Iterable[Certificate]) -> Iterator[Advice]:
    """What is wrong with any of them, or soon will be."""
    for each in certificates:
        about, (cert, key) = f"the {each.listener}", each.files
        if each.fault is not None:
            what = f"its new certificate is not in use: {each.fault}"
            yield Advice(about, what, f"mend {cert} and {key}; they are read when they change")
        if each.trouble is not None:
            remedy = f"renew {cert}: a new one is taken up within seconds, without a restart"
            yield Advice(about, each.trouble, remedy)


def plain(host: str, table: str) -> tuple[str, str]:
    """Other machines send their tokens as they are: what that is, and what would be right."""
    what = f"it listens on {host} without TLS: tokens, prompts and answers can be read on the way"
    remedy = f"set {table}.tls_cert and {table}.tls_key, or put a server that speaks TLS before it"
    return what, remedy
