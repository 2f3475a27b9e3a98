"""What an Xid, the NVIDIA driver's number for an error of a GPU, means and what helps.

The numbers are those of NVIDIA's catalogue. Where it asks for a closer look, for another
error's number or for a person, the remedy is to look into it, as it is for what it lacks.
"""

from __future__ import annotations

from collections.abc import Mapping

from .reading import Remedy

UNKNOWN = 999  # the driver itself has no number for it


def _each(*parts: int | range) -> frozenset[int]:
    return frozenset(n for part in parts for n in ([part] if isinstance(part, int) else part))


# Rest of the catalogue, to be looked into: 45 follows other errors, 48 and 74 and 144-150 need
# counters or the other end of a link, 54 a cable, 78 and 159 other software, 142 the vendor, and
# 154 says only that the driver now has an advice of its own.
_CODES: Mapping[Remedy, frozenset[int]] = {
    Remedy.RESTART: _each(
        *(8, 11, 13, 25, 31, 32, 39, 40, 41, 60, range(68, 73), range(75, 78), 80),
        *(range(82, 87), 88, 89, 94, range(96, 106), range(126, 136), 139),
    ),
    Remedy.NOTHING: _each(
        *(37, 38, 43, 44, 63, 66, 67, 92, 93, 106, 107, 121, 137, 141, 152, 153, 157, 160, 161)
    ),
    Remedy.RESET: _each(46, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158),
    Remedy.REBOOT: _each(79, 151),
}
_REMEDY = {code: remedy for remedy, codes in _CODES.items() for code in codes}

_TEXT: Mapping[int, str] = {
    8: "the GPU made no progress on a program's work",
    11: "a program's commands to the GPU were damaged",
    13: "a program did on the GPU what it may not",
    25: "a program sent the GPU commands that it does not have",
    31: "a program touched GPU memory that it does not have",
    32: "a program's commands to the GPU were damaged on the way",
    43: "the GPU ended a program's work because of the program's own fault",
    45: "the GPU cleared away programs after another error",
    46: "the GPU stopped working on anything",
    48: "GPU memory has an error that could not be corrected",
    54: "a power cable of the GPU is not connected",
    61: "the GPU's controller met an error",
    62: "the GPU's controller has halted",
    63: "a bad part of GPU memory is to be replaced by a spare one",
    64: "a bad part of GPU memory could not be replaced by a spare one",
    68: "the video decoder met an error",
    69: "a program asked the GPU for what this model does not have",
    74: "a link between GPUs met an error",
    78: "the virtual GPU could not be started",
    79: "the GPU has fallen off the bus",
    92: "many errors of GPU memory were corrected",
    94: "an error of GPU memory was kept to the program that met it",
    95: "an error of GPU memory may have reached any program",
    109: "the GPU could not change from one program to another in time",
    110: "the GPU met a breach of its protection",
    119: "the GPU's firmware did not answer in time",
    120: "the GPU's firmware met an error",
    121: "errors of the link between CPU and GPU were corrected",
    140: "GPU memory has an error that was not contained",
    143: "the GPU could not be initialised",
    151: "the virtual machine must be started again",
    154: "the driver changed its advice on how to recover the GPU",
    **dict.fromkeys(range(144, 151), "a link between GPUs met an error"),
    UNKNOWN: "an error that the driver could not name",
}


def remedy(code: int) -> Remedy:
    """What helps after this Xid; INSPECT where the catalogue does not know it."""
    return _REMEDY.get(code, Remedy.INSPECT)


def text(code: int) -> str:
    """One line for people: "Xid 79: the GPU has fallen off the bus"."""
    known = _TEXT.get(code)
    return f"Xid {code}: {known}" if known else f"Xid {code}"
