"""What a connection may take, and how long: numbers alone."""

from __future__ import annotations

from dataclasses import dataclass

KIB, MIB = 1024, 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes and seconds."""

    head: int = 64 * KIB
    headers: int = 100
    body: int = 64 * MIB  # of one request
    bodies: int = 512 * MIB  # of all that are held
    connections: int = 2048
    ahead: int = 64 * KIB  # sent before the answer to the last request
    leaving: int = 64 * MIB  # read off after an early answer: who is cut off cannot read it
    head_within: float = 10.0
    body_within: float = 9.0  # without a byte of it: gone within ten, by looks that are one apart
    paced_after: float = 30.0
    slowest: int = 1 * KIB  # bytes of a body a second, after that time
    idle: float = 75.0  # between requests
    stalled: float = 120.0  # a client that does not read
    leave_within: float = 2.0
    last_new: float = 1.0  # at the daemon's end, for the request of who has only just connected
    last_kept: float = 0.1  # and of who had an answer before
    connect: float = 5.0
    connect_far: float = 2.0  # to another host's gateway: there may be a third
    silence: float = 600.0  # an engine that sends no byte of its answer
    pooled: float = 30.0  # an engine's connection that nobody uses
    pool: int = 512  # connections of one engine that are kept
