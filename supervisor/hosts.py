"""Names by which a server is called, in the Host header of its clients."""

from __future__ import annotations

from urllib.parse import urlsplit

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# What containers call the machine they run on; nobody can have these names in the world's DNS.
CONTAINERS = frozenset(
    {"host.docker.internal", "host.containers.internal", "gateway.docker.internal"}
)


def host_of(header: str) -> str | None:
    """The name in a Host header, in lower case, without its port. None: it is no host."""
    try:
        parts = urlsplit(f"//{header}")
        parts.port  # noqa: B018  # raises for what is no port
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or "@" in header or not header.isprintable():
        return None
    return parts.hostname
