"""One connection to a message bus (D-Bus): calls with a deadline, and the signals asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from collectors.reading import Seconds
from supervisor.extras import needs

from . import base
from .base import EngineDown, EngineRefused

if TYPE_CHECKING:
    from dbus_fast import Message
    from dbus_fast.aio import MessageBus

_ERROR = "org.freedesktop.DBus.Error."
# The bus's own word that nobody is behind it.
_NOBODY = frozenset(
    _ERROR + name for name in ("ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected")
)


class BusRefused(EngineRefused):
    """The callee said no; `name` is D-Bus's name for that error."""

    def __init__(self, engine: str, call: str, message: str, name: str) -> None:
        super().__init__(engine, call, message)
        self.name = name


class Bus:
    """Connects when it is first needed, and anew after the connection was lost."""

    def __init__(
        self,
        engine: str,
        address: str,
        match: str,
        heard: Callable[[str, Sequence[Any]], None],
    ) -> None:
        """`heard` gets the member and the body of each signal that `match` lets through."""
        self._engine, self._address, self._match, self._heard = engine, address, match, heard
        self._bus: MessageBus | None = None
        self._connecting = asyncio.Lock()

    async def call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
    ) -> list[Any]:
        """The body of the reply. Raises EngineDown, or BusRefused."""
        return await self._bounded(
            member, self._call(destination, path, interface, member, signature, body)
        )

    def close(self) -> None:
        bus, self._bus = self._bus, None
        if bus is not None and bus.connected:
            bus.disconnect()

    async def _bounded(self, member: str, work: Any) -> list[Any]:
        try:
            async with asyncio.timeout(base.CALL_TIMEOUT):
                reply: list[Any] = await work
                return reply
        except TimeoutError as late:
            self.close()  # a reply that never comes would be waited for as long as we are connected
            why = f"no answer within {Seconds(base.CALL_TIMEOUT):g} s"
            raise EngineDown(self._engine, member, why) from late
        except ModuleNotFoundError as missing:
            raise EngineDown(self._engine, member, needs("systemd")) from missing
        except OSError as broken:
            self.close()
            why = f"{self._address}: {broken.strerror or broken}"
            raise EngineDown(self._engine, member, why) from broken

    async def _call(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        body: Sequence[Any],
    ) -> list[Any]:
        from dbus_fast import DBusFastError, Message, MessageType

        message = Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
        )
        try:
            bus = await self._connected()
            reply = await bus.call(message)
        except (DBusFastError, EOFError) as broken:
            self.close()
            why = f"{self._address}: {broken or type(broken).__name__}"
            raise EngineDown(self._engine, member, why) from broken
        if reply is None:  # the connection was closed meanwhile
            self.close()
            raise EngineDown(self._engine, member, f"{self._address}: the connection was closed")
        if reply.message_type is not MessageType.ERROR:
            return reply.body
        words = str(reply.body[0]) if reply.body else "without a word"
        name = reply.error_name or ""
        if name in _NOBODY or name.startswith(_ERROR + "Spawn"):
            raise EngineDown(self._engine, member, words)
        raise BusRefused(self._engine, member, words, name)

    async def _connected(self) -> MessageBus:
        from dbus_fast import MessageType
        from dbus_fast.aio import MessageBus

        def heard(message: Message) -> None:
            if message.message_type is MessageType.SIGNAL:
                self._heard(message.member or "", message.body)

        async with self._connecting:
            if self._bus is not None and self._bus.connected:
                return self._bus
            bus = await MessageBus(bus_address=self._address).connect()
            try:
                bus.add_message_handler(heard)
                await bus.call(_match(self._match))
            except BaseException:
                bus.disconnect()
                raise
            self._bus = bus
            return bus


def _match(rule: str) -> Message:
    from dbus_fast import Message

    name = "org.freedesktop.DBus"
    return Message(
        destination=name,
        path="/org/freedesktop/DBus",
        interface=name,
        member="AddMatch",
        signature="s",
        body=[rule],
    )
