"""`ullage lease` and `ullage reserve`: what is held for a client, or while a command runs."""

from __future__ import annotations

import getpass
import os
import time
from dataclasses import dataclass
from typing import Any

import click

from supervisor.printable import printable
from supervisor.units import UnitError, format_bytes, format_seconds, parse_duration

from . import holding
from .asking import (
    LOAD_TIMEOUT,
    REFUSED,
    WRONG,
    Trouble,
    asks,
    examples,
    names,
    tell,
)
from .client import TIMEOUT, Answer, Client
from .refused import refusal

TTL = 60.0  # seconds; whoever runs a command renews three times in it
RESERVED = 3600.0


def whoever() -> str:
    """Who asks: a user, and the session that this was started in."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a container may have no such user
        user = str(os.getuid())
    return f"{user}:{os.getppid()}"


def _seconds(option: str, text: str | None, usual: float) -> float:
    try:
        return usual if text is None else parse_duration(text)
    except UnitError as error:
        raise Trouble(WRONG, f"{option}: {error}") from None


def _one(model: object, listed: bool, id: str | None, command: tuple[str, ...], what: str) -> None:
    if [bool(model), listed, id is not None].count(True) != 1:
        raise click.UsageError(f"say one of {what}, --list, --close ID")
    if command and not model:
        raise click.UsageError(f"a command is run with {what} alone")


@dataclass(slots=True)
class _Lease:
    client: Client
    model: str
    name: str
    ttl: float
    every: float
    id: str = ""

    def open(self, wait: bool) -> Answer:
        answer = self.client.post(
            "/api/v1/leases", model=self.model, client=self.name, ttl=self.ttl, wait=wait
        )
        if not answer.document["ok"]:
            raise refusal(answer, f"{self.model} is not loaded, and cannot be", self.model)
        self.id = answer.document["lease"]["id"]
        return answer

    def began(self, pid: int) -> None:
        self.renew()

    def renew(self) -> None:
        self.client.post(f"/api/v1/leases/{self.id}/renew")

    def again(self) -> None:
        answer = self.client.post(
            "/api/v1/leases", model=self.model, client=self.name, ttl=self.ttl, wait=False
        )
        if answer.document["lease"] is not None:
            self.id = answer.document["lease"]["id"]

    def close(self) -> None:
        self.client.delete(f"/api/v1/leases/{self.id}")


@click.command(
    epilog=examples(
        "ullage lease qwen3:8b -- python agent.py     # held while it runs",
        "ullage lease qwen3:8b --ttl 30m              # prints its id",
        "ullage lease --list",
    )
)
@click.argument("model", required=False, shell_complete=names("installed"))
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--client", "name", metavar="NAME", help="Who holds it; usually you, in this shell.")
@click.option("--ttl", metavar="TIME", help="It expires so long after its last renewal.  [60s]")
@click.option("--no-wait", is_flag=True, help="Do not wait until the model is loaded.")
@click.option("--list", "listed", is_flag=True, help="Show the leases there are.")
@click.option("--close", "closed", metavar="ID", help="Give one back.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(LOAD_TIMEOUT)
def lease(
    client: Client,
    model: str | None,
    command: tuple[str, ...],
    name: str | None,
    ttl: str | None,
    no_wait: bool,
    listed: bool,
    closed: str | None,
    as_json: bool,
) -> None:
    """Hold a model, loaded if it is not: while COMMAND runs, or for a time.

    A model that is held is not unloaded to make room; one that is on demand goes with its last
    lease.
    """
    _one(model, listed, closed, command, "MODEL")
    if listed or closed is not None:
        return _there(client, "leases", closed, as_json, _lease_line)
    assert model is not None
    seconds = _seconds("--ttl", ttl, TTL)
    held = _Lease(client, model, name or whoever(), seconds, max(0.5, seconds / 3))
    answer = held.open(not no_wait)
    if command:
        client.timeout = min(client.timeout, TIMEOUT)  # to have it took long, to keep it does not
        click.get_current_context().exit(holding.run(command, held))
    return click.echo(answer.text if as_json else held.id)


@dataclass(slots=True)
class _Reservation:
    client: Client
    size: str
    pool: str | None
    name: str
    ttl: float
    every: float
    until: float | None  # on the monotonic clock: it is not renewed beyond
    id: str = ""
    pids: tuple[int, ...] = ()

    def open(self) -> Answer:
        body: dict[str, Any] = {"size": self.size, "pool": self.pool, "client": self.name}
        answer = self.client.post(
            "/api/v1/reservations", **body, **{"for": self.ttl}, pids=list(self.pids)
        )
        if not answer.document["ok"]:
            raise refusal(answer, f"{self.size} cannot be kept free")
        self.id = answer.document["reservation"]["id"]
        return answer

    def began(self, pid: int) -> None:
        self.pids = (pid,)
        self.client.post(f"/api/v1/reservations/{self.id}/renew", pids=[pid])

    def renew(self) -> None:
        if (left := self._left()) > 0:
            self.client.post(f"/api/v1/reservations/{self.id}/renew", **{"for": max(1.0, left)})

    def again(self) -> None:
        if self._left() <= 0:
            return
        body: dict[str, Any] = {"size": self.size, "pool": self.pool, "client": self.name}
        answer = self.client.post(
            "/api/v1/reservations", **body, **{"for": self.ttl}, pids=list(self.pids), wait=False
        )
        if answer.document["reservation"] is not None:
            self.id = answer.document["reservation"]["id"]

    def close(self) -> None:
        if self._left() > 0:
            self.client.delete(f"/api/v1/reservations/{self.id}")

    def _left(self) -> float:
        """For how long it is wanted yet, and at most its time to live."""
        return self.ttl if self.until is None else min(self.ttl, self.until - time.monotonic())


@click.command(
    epilog=examples(
        "ullage reserve 12GiB -- python train.py      # kept free while it runs",
        "ullage reserve 8GiB --pool gpu1 --for 2h     # prints its id",
        "ullage reserve --list",
    )
)
@click.argument("size", required=False)
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--pool", metavar="POOL", help="Where: gpu0, ram, or a pool's id.")
@click.option("--for", "period", metavar="TIME", help="For so long at most.  [1h without COMMAND]")
@click.option("--client", "name", metavar="NAME", help="For whom; usually you, in this shell.")
@click.option("--list", "listed", is_flag=True, help="Show the reservations there are.")
@click.option("--close", "closed", metavar="ID", help="Give one back.")
@click.option("--dry-run", is_flag=True, help="Only say who would have to go for it.")
@click.option("--json", "as_json", is_flag=True, help="The daemon's answer as it is.")
@asks(LOAD_TIMEOUT)
def reserve(
    client: Client,
    size: str | None,
    command: tuple[str, ...],
    pool: str | None,
    period: str | None,
    name: str | None,
    listed: bool,
    closed: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make room for a program of your own, and keep it free: while COMMAND runs, or for a time.

    What the command and its children use of it counts once. Its exit code is passed on.
    """
    _one(size, listed, closed, command, "SIZE")
    if listed or closed is not None:
        return _there(client, "reservations", closed, as_json, _job_line)
    assert size is not None
    if dry_run:
        answer = client.post("/api/v1/plan", free=size, pool=pool)
        tell(answer, as_json, "it would be kept free at once: nobody has to go")
        click.get_current_context().exit(0 if answer.document["works"] else REFUSED)
    seconds = _seconds("--for", period, RESERVED)
    ttl, until = seconds, None
    if command:
        until = None if period is None else time.monotonic() + seconds
        ttl = min(TTL, seconds)
    held = _Reservation(client, size, pool, name or whoever(), ttl, max(0.5, ttl / 3), until)
    answer = held.open()
    if command:
        client.timeout = min(client.timeout, TIMEOUT)  # to have it took long, to keep it does not
        click.get_current_context().exit(holding.run(command, held))
    return click.echo(answer.text if as_json else held.id)


def _there(client: Client, key: str, closed: str | None, as_json: bool, line: Any) -> None:
    """Those that are there; or closes one of them."""
    if closed is not None:
        answer = client.delete(f"/api/v1/{key}/{closed}")
        return click.echo(answer.text if as_json else f"closed: {printable(closed)}")
    answer = client.get(f"/api/v1/{key}")
    if as_json:
        return click.echo(answer.text)
    rows = answer.document[key]
    return click.echo("\n".join(printable(line(row)) for row in rows) or f"no {key}")


def _lease_line(row: dict[str, Any]) -> str:
    return f"{row['id']}  {row['model']}  {row['client']}  {format_seconds(row['left'])} left"


def _job_line(row: dict[str, Any]) -> str:
    kept = f"{format_bytes(row['size'])} of {row['pool']}, {format_bytes(row['held'])} kept free"
    return f"{row['id']}  {kept}  {row['client']}  {format_seconds(row['left'])} left"
