"""What each number means and what helps, as NVIDIA's catalogue sorts them."""

import pytest

from collectors import xid
from collectors.reading import Remedy


@pytest.mark.parametrize("code", [8, 13, 31, 41, 68, 72, 77, 86, 94, 96, 105, 126, 135, 139])
def test_after_a_fault_of_a_program_the_program_is_restarted(code: int) -> None:
    assert xid.remedy(code) is Remedy.RESTART


@pytest.mark.parametrize("code", [37, 43, 63, 92, 121, 137, 141, 161])
def test_some_only_tell_what_was_dealt_with(code: int) -> None:
    assert xid.remedy(code) is Remedy.NOTHING


@pytest.mark.parametrize("code", [46, 62, 64, 95, 109, 119, 120, 140, 143, 155, 158])
def test_a_gpu_that_cannot_go_on_is_reset(code: int) -> None:
    assert xid.remedy(code) is Remedy.RESET


@pytest.mark.parametrize("code", [79, 151])
def test_a_gpu_that_is_off_the_bus_needs_a_reboot(code: int) -> None:
    assert xid.remedy(code) is Remedy.REBOOT


@pytest.mark.parametrize("code", [45, 48, 54, 74, 78, 142, *range(144, 151), 154, 159])
def test_those_that_depend_on_something_else_are_looked_into(code: int) -> None:
    assert xid.remedy(code) is Remedy.INSPECT


@pytest.mark.parametrize("code", [0, 1, 73, 87, 106 + 16, 162, 999, 2**63])
def test_a_number_that_the_catalogue_lacks_is_looked_into(code: int) -> None:
    assert xid.remedy(code) is Remedy.INSPECT


def test_no_number_is_sorted_twice() -> None:
    codes = [code for some in xid._CODES.values() for code in some]
    assert len(codes) == len(set(codes)) == 83


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (79, "Xid 79: the GPU has fallen off the bus"),
        (31, "Xid 31: a program touched GPU memory that it does not have"),
        (149, "Xid 149: a link between GPUs met an error"),
        (999, "Xid 999: an error that the driver could not name"),
        (12345, "Xid 12345"),
    ],
)
def test_a_number_is_told_in_words_where_there_are_any(code: int, text: str) -> None:
    assert xid.text(code) == text
