"""ComfyUI: what it holds has one name, because nobody but its own worker knows the models."""

from __future__ import annotations

from typing import ClassVar

from collectors.reading import Bytes, mib
from supervisor.core.snapshot import Ability, ModelId, State

from .adapter import Adapter
from .answer import Json
from .base import (
    Activity,
    Checked,
    EngineModel,
    EngineRefused,
    Identity,
    Process,
    Proof,
    WhenBusy,
)
from .wire import CONTROL_TIMEOUT

ALL = ModelId("comfyui")  # whatever it holds

# Whose memory torch counts. Of a CPU and of Apple's GPUs it is told how large RAM is, of DirectML
# a size that is made up.
COUNTED = frozenset({"cuda", "xpu", "npu", "mlu"})

# A checkpoint that anybody uses takes 2 GB and more; some tens of MB of buffers stay when all is
# freed, and so does the CUDA context of several hundred, which torch does not count.
WORTH = mib(512)

BLIND = frozenset({Ability.LIST, Ability.CANCEL})
ABLE = BLIND | {Ability.UNLOAD, Ability.IN_FLIGHT, Ability.BYTES}


class ComfyUI(Adapter):
    """One entry stands for all models and cached results: loaded while torch holds more than
    WORTH of its GPU, used or not. /free is answered at once and done when the current job ends.
    Without a GPU that torch counts nobody can tell whether it worked: it is only shown.
    Unverified: whether newer versions hold weights outside torch's allocator.
    """

    kind: ClassVar[str] = "comfyui"
    title: ClassVar[str] = "ComfyUI"
    ports: ClassVar[tuple[int, ...]] = (8188,)
    proof: ClassVar[Proof] = Proof.ENGINE
    when_busy: ClassVar[WhenBusy] = WhenBusy.WAITS
    checked: ClassVar[Checked] = Checked.SOURCE
    abilities: frozenset[Ability] = ABLE

    async def identify(self) -> Identity | None:
        answer = await self._wire.probe("/system_stats")
        value = None if answer is None else answer.value
        if not isinstance(value, dict) or not isinstance(system := value.get("system"), dict):
            return None
        devices = value.get("devices")
        if not isinstance(devices, list) or not devices or not all(map(_genuine, devices)):
            return None
        version = system.get("comfyui_version")  # since 0.3
        return Identity(version if isinstance(version, str) and version else "not told")

    async def list(self) -> tuple[EngineModel, ...]:
        held = _held(await self._wire.get("/system_stats"))
        self.abilities = BLIND if held is None else ABLE
        if held is not None and held < WORTH:
            return (EngineModel(ALL),)
        return (
            EngineModel(
                ALL,
                State.UNKNOWN if held is None else State.LOADED,
                reported=held,  # what it holds of RAM it does not say
                reported_gpu=held,
                process=Process(whole=True),
            ),
        )

    async def activity(self, model: EngineModel) -> Activity:
        """Jobs: the one that runs, and those that wait."""
        answer = await self._wire.get("/prompt")
        return Activity(in_flight=answer["exec_info"]["queue_remaining"].count())

    async def unload(self, model: ModelId) -> None:
        (entry,) = await self.list()
        if model != entry.id:
            raise EngineRefused(self.id, f"unload {model}", f"all that it has is {entry.id}", 404)
        if Ability.UNLOAD not in self.abilities:
            raise self._unable(f"unload {model}")
        if entry.state is not None:
            body = {"unload_models": True, "free_memory": True}
            await self._wire.text("POST", "/free", body, CONTROL_TIMEOUT)

    async def cancel(self, model: ModelId) -> None:
        """The job that runs; those that wait stay in the queue."""
        (entry,) = await self.list()
        if model != entry.id:
            raise EngineRefused(self.id, f"cancel {model}", f"all that it has is {entry.id}", 404)
        await self._wire.text("POST", "/interrupt", {}, CONTROL_TIMEOUT)


def _genuine(device: object) -> bool:
    """A device is called as torch calls it, "cuda:0 NVIDIA …": KoboldCpp's is "koboldcpp"."""
    if not isinstance(device, dict) or "torch_vram_total" not in device:
        return False
    name, kind = device.get("name"), device.get("type")
    return isinstance(name, str) and isinstance(kind, str) and name.startswith(kind)


def _held(stats: Json) -> Bytes | None:
    """Bytes that torch took from the driver and has not given back, a cache of free ones among
    them: it is emptied too. None where torch does not count."""
    devices = tuple(stats["devices"])
    counted = [d["torch_vram_total"].size() for d in devices if d["type"].text() in COUNTED]
    return Bytes(sum(counted)) if counted else None
