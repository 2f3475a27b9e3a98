"""Intel GPUs by PCI device id: which are cards, and what those that one meets are called."""

from __future__ import annotations

CARDS = (
    range(0x0BD0, 0x0BEC),  # Data Center GPU Max
    range(0x4905, 0x490A),  # DG1
    range(0x4F80, 0x4F89),  # Arc A
    range(0x5690, 0x56C3),  # Arc A, Flex
    range(0xE202, 0xE300),  # Arc B
)
_NAMES = {
    0x56A0: "Intel Arc A770",
    0x56A1: "Intel Arc A750",
    0x56A2: "Intel Arc A580",
    0x56A5: "Intel Arc A380",
    0x56A6: "Intel Arc A310",
    0x56C0: "Intel Data Center GPU Flex 170",
    0x56C1: "Intel Data Center GPU Flex 140",
    0xE20B: "Intel Arc B580",
    0xE20C: "Intel Arc B570",
    0xE211: "Intel Arc Pro B60",
    0xE212: "Intel Arc Pro B50",
    0xE222: "Intel Arc Pro B65",
    0xE223: "Intel Arc Pro B70",
}


def is_card(device: int) -> bool:
    """Is it known to have memory of its own?"""
    return any(device in ids for ids in CARDS)


def name_of(device: int, integrated: bool) -> str:
    """A name does not tell the size: an A770 has 8 or 16 GiB."""
    kind = "integrated GPU" if integrated else "GPU"
    return _NAMES.get(device) or f"Intel {kind} {device:04x}"
