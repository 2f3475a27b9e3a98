"""Hears of the daemon's events (Server-Sent Events): that something happened, and of what kind.

What it was is not read here: the state and the journal say so, and cannot contradict themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException

from supervisor.cli.client import Client, Garbled, Refused
from supervisor.cli.following import API, parse

SILENCE = 40.0  # seconds: the daemon says something every 15
OPEN = "open"  # what is told before the first event


class NoEvents(Exception):
    """This daemon tells none, or not to us."""


def kinds(client: Client) -> Iterator[str]:
    """The kind of each event as it comes, OPEN before them; ends when the daemon does.

    Raises ClientError where nobody answers or it breaks off, NoEvents where it tells none.
    """
    listening = {"Accept": "text/event-stream"}
    try:
        with client.stream(API, SILENCE, {}, listening) as lines:
            yield OPEN
            yield from (event.kind for event in parse(lines))
    except Refused as error:
        raise NoEvents(error.what) from None
    except (OSError, HTTPException, ValueError) as error:
        raise Garbled(f"the events of {client.address} broke off", str(error)) from None
