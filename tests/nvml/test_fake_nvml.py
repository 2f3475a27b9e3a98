"""The stand-in driver is left by one test before the next one has it."""

import threading
import time
from pathlib import Path

from collectors.nvidia import NvidiaCollector
from collectors.reading import Tier
from tests.nvml.fake_nvml import GIB, State, _inside


def test_its_end_waits_for_who_is_in_it_and_for_nobody_else(
    nvml_library: Path, tmp_path: Path
) -> None:
    state, over = State(tmp_path / "nvml.txt"), threading.Event()
    state.gpu(0, total=GIB)
    with state.loaded(nvml_library):
        state.hang("nvmlDeviceGetCount_v2")
        stays = threading.Thread(target=over.wait, daemon=True)
        reads = threading.Thread(target=NvidiaCollector().read, args=(Tier.ALL,), daemon=True)
        stays.start()
        reads.start()
        while not list(_inside({stays, reads})):
            time.sleep(0)
    assert list(_inside({stays, reads})) == []
    assert stays.is_alive()
    over.set()
