"""Take memory of an NVIDIA GPU and hold it until stdin ends: `python hold.py BYTES [LIBRARY]`.

The GPU is the first that CUDA shows (CUDA_VISIBLE_DEVICES chooses). Prints "ready" once every byte
has been written to. Nothing of it is changed but its memory. Where that cannot be done: status 77,
and one line on stderr that says why.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, NoReturn

CANNOT = 77
LIBRARY = "libcuda.so.1"


def main(size: int, library: str) -> None:
    try:
        cuda: Any = ctypes.CDLL(library)
    except OSError as error:
        cannot(f"no CUDA driver: {error}")
    device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
    calls = [
        ("cuInit", 0),
        ("cuDeviceGet", ctypes.byref(device), 0),
        ("cuDevicePrimaryCtxRetain", ctypes.byref(context), device),
        ("cuCtxSetCurrent", context),
    ]
    if size:
        calls += [
            ("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(size)),
            ("cuMemsetD8_v2", memory, ctypes.c_ubyte(1), ctypes.c_size_t(size)),
        ]
    for name, *arguments in [*calls, ("cuCtxSynchronize",)]:
        status = getattr(cuda, name)(*arguments)
        if status:
            cannot(f"{name}: CUDA error {status}")
    print("ready", flush=True)
    sys.stdin.read()


def cannot(why: str) -> NoReturn:
    print(why, file=sys.stderr)
    sys.exit(CANNOT)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else LIBRARY)
