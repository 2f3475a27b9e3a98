"""The table of one engine in the configuration."""

from __future__ import annotations

from pathlib import Path

from collectors.reading import PoolId

from . import forms
from .described import Description
from .scopes import Scope
from .served import Launching
from .table import setting


class Known(Scope):
    """An engine, however it comes to run."""

    kind: str | None = setting(
        None,
        forms.TEXT,
        "What it is, by its `kind` in the README's table of engines. None: Ullage asks who"
        " answers.",
    )
    url: str | None = setting(None, forms.URL, "Where it listens, as http://127.0.0.1:8080.")
    key: str | None = setting(
        None, forms.SECRET, "The bearer token that it asks for.", shown="not set"
    )
    key_file: Path | None = setting(
        None, forms.PATH, "A file that holds the key; others must not be able to read it."
    )
    allow_remote: bool = setting(
        False,
        forms.SWITCH,
        "Its address may be another machine's. Where it is on one, say that by `pools`.",
    )
    max_active_backends: int | None = setting(
        None, forms.COUNT, "At most this many of its models at once; 0: no limit."
    )
    pools: frozenset[PoolId] = setting(
        (),
        forms.POOLS,
        "Its models are loaded into these alone, where it was told so; none: into any. With none an"
        ' engine is expected to take the accelerator with the most headroom. "remote": it is on'
        " another machine, or behind a tunnel to one, and takes no memory of this one.",
        shown="none",
    )
    service_unit: str | None = setting(
        None,
        forms.TEXT,
        "The systemd unit that all of it runs in: ended by the rungs restart and stop, and started"
        " for a load.",
    )
    service_container: str | None = setting(
        None, forms.TEXT, "The same for an engine that runs in a container."
    )
    http: Description = Description()


class Engine(Launching, Known):
    """Further keys are for the kinds that are ours to start."""
