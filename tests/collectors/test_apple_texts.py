"""What macOS's commands print, and what is no text of theirs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors import apple_texts as texts
from collectors.darwin import Swap
from collectors.reading import gib, mib

M2 = Path(__file__).parent.parent / "captures/m2-max-64gb"


def test_a_counter_that_vm_stat_does_not_print_makes_all_of_it_unreadable() -> None:
    text = (M2 / "macos/vm_stat.txt").read_text()
    for name in ("Pages wired down", "Pages occupied by compressor", "File-backed pages"):
        assert texts.parse_vm_stat(text.replace(name, "Pages of something else")) is None
    assert texts.parse_vm_stat(text.replace("page size of", "size of")) is None


def test_a_number_longer_than_any_of_ours_is_none() -> None:
    endless = "9" * 5000  # Python refuses to read so many digits
    text = (M2 / "macos/vm_stat.txt").read_text().replace("1204518", endless)
    assert texts.parse_vm_stat(text) is None
    assert texts.parse_swapusage(f"total = {endless}.00M  free = {endless}.00M") is None
    assert texts.parse_whole(endless) is None
    assert texts.parse_users(f'"IOUserClientCreator" = "pid {endless}, x"') == {}
    assert texts.parse_processes(f"{endless} 1 2 x") == {}
    statistics = f'"PerformanceStatistics" = {{"Alloc system memory"={endless}}}'
    assert texts.parse_statistics(statistics).held is None


def test_pages_of_intel_macs_are_smaller() -> None:
    text = (M2 / "macos/vm_stat.txt").read_text().replace("16384 bytes", "4096 bytes")
    memory = texts.parse_vm_stat(text)
    assert memory is not None
    assert memory.page == 4096


def test_swap_is_printed_in_mib() -> None:
    text = "total = 2048.00M  used = 1023.50M  free = 1024.50M  (encrypted)"
    assert texts.parse_swapusage(text) == Swap(gib(2), mib(1024.5))
    assert texts.parse_swapusage("total = 2048.00M") is None


def test_utilization_is_a_ratio_and_never_above_one() -> None:
    text = '"PerformanceStatistics" = {"Device Utilization %"=%d}'
    assert texts.parse_statistics(text.replace("%d", "101")).utilization == 1.0
    assert texts.parse_statistics(text.replace("%d", "0")).utilization == 0.0
    assert texts.parse_statistics("no accelerator") == texts.Statistics()


def test_what_the_driver_gave_out_counts_though_the_gpu_is_not_using_it_now() -> None:
    both = '"Alloc system memory"=21343043584,"In use system memory"=507330560'
    assert texts.parse_statistics(f'"PerformanceStatistics" = {{{both}}}').held == 21343043584
    only = '"In use system memory (driver)"=0,"In use system memory"=507330560'
    assert texts.parse_statistics(f'"PerformanceStatistics" = {{{only}}}').held == 507330560


def test_a_process_with_several_queues_uses_the_gpu_once() -> None:
    users = texts.parse_users((M2 / "macos/users.txt").read_text())
    assert users == {
        389: "WindowServer",
        733: "Safari",
        902: "Google Chrome He",
        4821: "ollama",
        5120: "python3.12",
    }


SNIPPETS = st.sampled_from(
    [
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)",
        *("Pages active:", "Pages inactive:", "Pages speculative:", "Pages wired down:"),
        *("Pages occupied by compressor:", "Pages purgeable:", "File-backed pages:", "Swapins:"),
        *("total = ", "free = ", "used = ", "M  ", "12345.", ".50", "-7", "9" * 5000, "٣", "\n"),
        *('"PerformanceStatistics" = {', "}", '"Device Utilization %"=', '"pid 12, x"', "1 2 - n"),
        *('"IOUserClientCreator" = ', "hw.memsize: ", ": ", "recommendedMaxWorkingSetSize: ", " "),
    ]
)


@given(st.lists(SNIPPETS | st.text(max_size=8), max_size=24).map("".join))
def test_no_text_is_too_strange_to_be_read_or_refused(text: str) -> None:
    memory = texts.parse_vm_stat(text)
    if memory is not None:
        assert 0 < memory.wired * memory.page <= memory.used <= memory.held
    swap = texts.parse_swapusage(text)
    assert swap is None or 0 <= swap.free <= swap.total
    told = texts.parse_statistics(text)
    assert told.utilization is None or 0 <= told.utilization <= 1
    assert told.held is None or told.held >= 0
    assert all(pid >= 0 for pid in texts.parse_users(text))
    assert all(pid == entry.pid for pid, (entry, _) in texts.parse_processes(text).items())
    whole = [texts.parse_whole(value) for value in texts.parse_lines(text).values()]
    assert all(n is None or n >= 0 for n in whole)


def test_a_command_is_run_and_its_failure_is_no_answer() -> None:
    assert texts.run(["/bin/echo", "hw.memsize: 1"]) == "hw.memsize: 1\n"
    assert texts.run(["/bin/sh", "-c", "echo known; echo unknown >&2; exit 1"]) == "known\n"
    with pytest.raises(OSError):
        texts.run(["/usr/sbin/no-such-command"])
