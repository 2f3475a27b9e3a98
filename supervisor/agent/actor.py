"""A host's actor in Ray: other hosts reach this host's daemon by it. Thin: what it is asked, it
asks the daemon, and gives back the answer. It never touches a driver.

An error is an answer too: as a row, since exceptions of ours would have to be known wherever they
are read.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from collectors.reading import Seconds
from supervisor.fleet.spans import PARTS

from . import directory
from .backend import BackendError, Row
from .bridge import Bridge

NAME: Final = "ullage-host:"
SPACE: Final = "ullage"  # Ray's namespace
LEDGER: Final = "ullage:"  # what a placement group's name begins with
ASKED: Final = ("offer", "accept", "drain", "undrain", "unload")
PROMPT: Final = 2.0  # seconds that Ray has for what takes milliseconds


class HostActor:
    """`agent` is whose actor this is: another for each start of a driver."""

    def __init__(self, host: str, agent: str, address: str, token_file: str | None) -> None:
        self._host, self._agent = host, agent
        self._bridge = Bridge(address, token_file)

    async def who(self) -> Row:
        """Whose it is: how two hosts of one name are told apart."""
        return {"host": self._host, "agent": self._agent, "pid": os.getpid()}

    async def ask(self, what: str, within: float, words: dict[str, Any]) -> Row:
        """What the daemon answers: {"answer"} or {"error"}."""
        if what not in ASKED:
            return {"error": {"code": "unknown", "detail": f"what is {what}?", "status": 400}}
        asked = self.accept if what == "accept" else getattr(self._bridge, what)
        try:
            return {"answer": await asked(within=Seconds(within), **words)}
        except BackendError as e:
            row = {"code": e.code, "detail": e.detail, "status": e.status, "unsure": e.unsure}
            return {"error": row}

    async def accept(
        self,
        offer: str,
        claim: str,
        model: str,
        valid: float,
        lost: float,
        within: Seconds,
        part: bool = False,
    ) -> Row:
        """First it is written where all look that the model is coming, and then it is looked
        whether the claim still stands: so of two that place a model at once, one sees the other.
        Of a model that spans hosts each `part` comes by the one claim of all."""
        import ray

        bar = f"{claim}{PARTS}{self._host}" if part else claim

        there = ray.get_actor(directory.NAME, namespace=SPACE)
        try:
            async with asyncio.timeout(PROMPT):
                await there.bar.remote(self._host, bar, model, valid, lost)
                stands = await asyncio.to_thread(_stands, claim, model)
        except Exception as error:
            what = f"{self._host} cannot tell whether {model} is still claimed for it"
            raise BackendError("unclaimed", f"{what}: {error or 'no answer'}", 409) from None
        if not stands:
            there.unbar.remote(self._host, bar)
            raise BackendError("unclaimed", f"{model} is no longer claimed for {self._host}", 409)
        try:
            return await self._bridge.accept(offer, within)
        except BackendError as error:
            if not error.unsure:
                there.unbar.remote(self._host, bar)
            raise


def _stands(claim: str, model: str) -> bool:
    """Asks Ray's head itself. Blocks."""
    import ray
    from ray.util.placement_group import PlacementGroup, placement_group_table

    row = placement_group_table(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(claim))))
    return bool(row.get("name") == LEDGER + model and row.get("state") == "CREATED")


def answer(row: Row) -> Row:
    """What `ask` gave back. Raises the error that it tells of."""
    if "error" in row:
        raise BackendError(**row["error"])
    found: Row = row["answer"]
    return found
