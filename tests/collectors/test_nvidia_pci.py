"""GPUs that the kernel has and the driver does not list: hidden, given away, or a failure."""

import subprocess
import sys
from pathlib import Path

import pytest

from collectors import nvidia_pci, nvml
from collectors.errors import CollectorError
from collectors.nvidia import ASK_AGAIN, NO_DRIVER, NO_GPU, NvidiaCollector
from collectors.reading import Blind, Sample, Tier
from collectors.suspend import SHORTEST, Suspension, asleep
from tests.collectors.conftest import Clock
from tests.nvml.fake_nvml import GIB, State
from tests.nvml.told import Told

NO_PERMISSION, LIBRARY_NOT_FOUND, OPERATING_SYSTEM, UNKNOWN = 4, 12, 17, 999
CARD, SECOND = "0000:01:00.0", "0000:02:00.0"


def on_pci(root: Path, pci: str = CARD, driver: str | None = "nvidia", **files: str) -> None:
    folder = root / "sys/bus/pci/devices" / pci
    folder.mkdir(parents=True, exist_ok=True)
    event = "" if driver is None else f"DRIVER={driver}\n"
    told = {"vendor": "0x10de", "class": "0x030000", "uevent": f"{event}PCI_ID=10DE:2684", **files}
    for name, text in told.items():
        (folder / name).write_text(f"{text}\n")


def node(root: Path, *names: str) -> None:
    (root / "dev").mkdir(exist_ok=True)
    for name in names:
        (root / "dev" / name).touch()


@pytest.fixture
def collector(driver: State, clock: Clock, tmp_path: Path) -> NvidiaCollector:
    return NvidiaCollector(tmp_path, clock, lambda: 125 * GIB, events=Told())


@pytest.fixture
def none(driver: State) -> State:
    """A driver that lists no GPU."""
    driver.without_gpu(1)
    driver.without_gpu(0)
    return driver


def pool_ids(sample: Sample) -> list[str]:
    return [p.id for p in sample.pools]


# -- what the kernel has


def test_gpus_are_known_by_vendor_and_class(tmp_path: Path) -> None:
    assert nvidia_pci.gpus(tmp_path) == {}
    on_pci(tmp_path)
    on_pci(tmp_path, SECOND, driver=None, **{"class": "0x030200"})  # computes, shows nothing
    on_pci(tmp_path, "0000:01:00.1", driver="snd_hda_intel", **{"class": "0x040300"})
    on_pci(tmp_path, "0000:03:00.0", driver="amdgpu", vendor="0x1002")
    assert nvidia_pci.gpus(tmp_path) == {CARD: "nvidia", SECOND: None}


def test_the_files_to_open_gpus_by_are_counted(tmp_path: Path) -> None:
    assert nvidia_pci.nodes(tmp_path) == 0
    node(tmp_path, "nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null")
    assert nvidia_pci.nodes(tmp_path) == 2


# -- no GPU, and nobody says why


@pytest.mark.parametrize(("error", "why"), [(None, "lists none"), (LIBRARY_NOT_FOUND, "not found")])
def test_gpus_that_the_kernel_has_and_nobody_lists_are_a_fault(
    collector: NvidiaCollector, none: State, tmp_path: Path, error: int | None, why: str
) -> None:
    on_pci(tmp_path)
    node(tmp_path, "nvidia0")
    if error is not None:
        none.fault(error, "nvmlInitWithFlags")
    for _ in range(2):
        with pytest.raises(
            CollectorError, match=f"(?i){why}.*, and the kernel has a GPU at {CARD}"
        ):
            collector.read(Tier.MEMORY)
    none.drop("fault")
    none.gpu(0, uuid="GPU-cccc", total=24 * GIB)
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-cccc"]


@pytest.mark.parametrize("driver_of_it", ["nvidia", "vfio-pci"])
def test_gpus_that_this_program_may_not_have_are_a_note(
    collector: NvidiaCollector, none: State, tmp_path: Path, driver_of_it: str
) -> None:
    on_pci(tmp_path, driver=driver_of_it)
    node(tmp_path, "nvidiactl")
    told = f"that this program may use: {CARD} belongs to {driver_of_it}"
    assert collector.read(Tier.ALL) == Sample(notes=(f"{NO_GPU} {told}",))


def test_a_machine_without_a_driver_says_whose_the_gpu_is(
    collector: NvidiaCollector, none: State, tmp_path: Path
) -> None:
    on_pci(tmp_path, driver="nouveau")
    on_pci(tmp_path, SECOND, driver=None)
    none.fault(LIBRARY_NOT_FOUND, "nvmlInitWithFlags")
    (note,) = collector.read(Tier.ALL).notes
    assert note.startswith(NO_DRIVER)
    assert note.endswith(f"{CARD} belongs to nouveau")


def test_a_driver_is_not_loaded_to_ask_for_gpus_that_are_all_another_ones(
    collector: NvidiaCollector, driver: State, tmp_path: Path, clock: Clock
) -> None:
    driver.fault(UNKNOWN, "nvmlInitWithFlags")  # to see whether it is called
    for pci in (CARD, SECOND):
        on_pci(tmp_path, pci, driver="vfio-pci")
    assert f"{SECOND} belongs to vfio-pci" in collector.read(Tier.ALL).notes[0]
    driver.drop("fault")
    on_pci(tmp_path)  # given back
    clock.now += ASK_AGAIN
    assert pool_ids(collector.read(Tier.MEMORY)) == ["GPU-aaaa", "GPU-bbbb"]


def test_a_driver_that_lists_no_gpu_is_not_kept_open(
    collector: NvidiaCollector, none: State, clock: Clock
) -> None:
    import pynvml

    for _ in range(2):
        collector.read(Tier.MEMORY)
        with pytest.raises(pynvml.NVMLError_Uninitialized):
            pynvml.nvmlDeviceGetCount()
        clock.now += ASK_AGAIN


# -- a GPU that is given to a virtual machine while we watch


def test_a_gpu_given_to_a_virtual_machine_is_blind_and_says_so(
    collector: NvidiaCollector, driver: State, tmp_path: Path
) -> None:
    on_pci(tmp_path)
    on_pci(tmp_path, SECOND)
    collector.read(Tier.MEMORY)
    driver.fault(15, index=0)
    driver.gpu(1, used=0)
    on_pci(tmp_path, driver="vfio-pci")
    assert collector.read(Tier.MEMORY).blind == (
        Blind("GPU-aaaa", "the kernel has given it to vfio-pci"),
    )


def test_when_all_are_given_away_the_fault_says_so(
    collector: NvidiaCollector, driver: State, tmp_path: Path
) -> None:
    driver.without_gpu(1)
    on_pci(tmp_path)
    collector.read(Tier.MEMORY)
    driver.without_gpu(0)
    on_pci(tmp_path, driver="vfio-pci")
    with pytest.raises(CollectorError, match=f"; {CARD}: the kernel has given it to vfio-pci"):
        collector.read(Tier.MEMORY)


# -- GPUs that are counted and hidden


@pytest.mark.parametrize(
    ("code", "nodes", "hidden"),
    [
        (NO_PERMISSION, (), True),
        (OPERATING_SYSTEM, (), True),
        (UNKNOWN, ("nvidia0",), True),
        (UNKNOWN, ("nvidia0", "nvidia1"), False),
        (UNKNOWN, (), False),
    ],
)
def test_a_gpu_that_is_counted_and_hidden_is_a_note_and_one_that_fails_is_blind(
    collector: NvidiaCollector,
    driver: State,
    tmp_path: Path,
    code: int,
    nodes: tuple[str, ...],
    hidden: bool,
) -> None:
    node(tmp_path, *nodes)
    driver.fault(code, index=1)
    sample = collector.read(Tier.MEMORY)
    assert pool_ids(sample) == ["GPU-aaaa"]
    assert [b.pool for b in sample.blind] == ([] if hidden else ["nvidia:1"])
    assert bool(sample.notes) is hidden


# -- a library that the linker does not know


def test_the_library_is_found_where_the_linker_does_not_look(
    driver: State, nvml_library: Path
) -> None:
    script = (
        "import sys; from collectors import nvml; nvml.PLACES = ('/nowhere', sys.argv[1])\n"
        "library = nvml.Nvml(); library.start(); print(library.count())"
    )
    env = {**driver.env(nvml_library), "LD_LIBRARY_PATH": "", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", script, str(nvml_library.parent)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_where_the_library_is_nowhere_that_is_said(
    monkeypatch: pytest.MonkeyPatch, driver: State
) -> None:
    monkeypatch.setattr(nvml, "PLACES", ("/nowhere",))
    driver.fault(LIBRARY_NOT_FOUND, "nvmlInitWithFlags")
    with pytest.raises(nvml.NvmlError) as error:
        nvml.Nvml().start()
    assert error.value.code == LIBRARY_NOT_FOUND


# -- a machine that slept


def test_a_sleep_is_told_once() -> None:
    slept = [0.0]
    suspension = Suspension(lambda: slept[0])
    assert not suspension.happened()
    slept[0] += 3600
    assert [suspension.happened(), suspension.happened()] == [True, False]
    slept[0] += SHORTEST / 2  # no more than two clocks read one after the other
    assert not suspension.happened()


def test_how_long_this_machine_slept_can_be_had() -> None:
    assert asleep() >= -0.001


def test_after_a_sleep_the_library_is_started_anew(
    driver: State, clock: Clock, tmp_path: Path
) -> None:
    slept, told = [0.0], Told()
    collector = NvidiaCollector(
        tmp_path, clock, lambda: 125 * GIB, events=told, asleep=lambda: slept[0]
    )
    before = collector.read(Tier.MEMORY)
    driver.fault(UNKNOWN, "nvmlInitWithFlags")  # to see when it is called
    assert collector.read(Tier.MEMORY) == before
    slept[0] = 3600.0
    with pytest.raises(CollectorError, match="999"):
        collector.read(Tier.MEMORY)
    driver.drop("fault")
    assert collector.read(Tier.MEMORY) == before
    assert told.watched == {"GPU-aaaa", "GPU-bbbb"}
