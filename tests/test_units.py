import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.core.policy import ACCELERATOR_RESERVE, Amount
from supervisor.units import (
    LARGEST,
    LONGEST,
    UnitError,
    format_amount,
    format_bytes,
    format_duration,
    format_seconds,
    format_size,
    parse_amount,
    parse_duration,
    parse_size,
    shown,
)

GIB = 1024**3


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("6GiB", 6 * GIB),
        ("512MiB", 512 * 1024**2),
        ("6GB", 6_000_000_000),
        ("6 gib", 6 * GIB),
        ("1.5TiB", 1536 * GIB),
        ("1.1GB", 1_100_000_000),  # through a float it would be 1100000000.0000002
        ("0.1GiB", 107_374_182),
        ("1024", 1024),
        (1024, 1024),
        ("0", 0),
        ("17B", 17),
        ("3kB", 3000),
        (LARGEST, LARGEST),
    ],
)
def test_a_size_is_read_to_the_byte(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("6G", "write 6GiB (powers of 1024) or 6GB"),
        ("6GOB", '"6GOB" is not a size; write it as "6GiB"'),
        ("-1GiB", "negative"),
        (-1, "negative"),
        ("1.5", "whole number of bytes"),
        ("lots", 'is not a size; write it as "6GiB"'),
        ("", "is not a size"),
        (True, "true is not a size"),
        (0.5, "0.5 is not a size"),
        (math.nan, "nan is not a size"),
        ({}, "a table is not a size"),
        ("9EiB", "is not a size"),
        ("99999999PiB", "more than any machine has"),
        (LARGEST + 1, "more than any machine has"),
        (10**5000, "more than any machine has"),
        ("9" * 5000, "is not a size"),
        ("٣GiB", "is not a size"),
    ],
    ids=lambda v: shown(v)[:12],
)
def test_what_is_no_size_is_refused_with_what_would_be_right(text, hint):
    with pytest.raises(UnitError) as refused:
        parse_size(text)
    assert hint in str(refused.value)


def test_an_amount_is_a_size_or_a_share():
    assert parse_amount("20GiB") == Amount(size=20 * GIB)
    assert parse_amount("12%") == Amount(fraction=0.12)
    assert parse_amount("12.5 %") == Amount(fraction=0.125)
    assert parse_amount("100%") == Amount(fraction=1.0)


@pytest.mark.parametrize("text", ["101%", "100.1%", "-1%", "12 percent", 0.12, "nan%", "%", True])
def test_what_is_neither_size_nor_share_is_refused(text):
    with pytest.raises(UnitError):
        parse_amount(text)


def test_a_wrong_amount_names_both_ways_to_write_one():
    with pytest.raises(UnitError) as refused:
        parse_amount("12 percent")
    assert str(refused.value) == (
        '"12 percent" is not a size; write bytes as "6GiB" or a share as "12%"'
    )


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2h30m", 9000),
        ("2h 30m", 9000),
        ("250ms", 0.25),
        ("5m", 300),
        ("90", 90),
        (90, 90),
        (0.25, 0.25),
        ("1.5s", 1.5),
        ("1.5h", 5400),
        ("1d", 86400),
        ("1d2h3m4s5ms", 93784.005),
        ("0s", 0),
        ("0.1s", 0.1),
    ],
)
def test_a_duration_is_read_in_seconds(text, seconds):
    assert parse_duration(text) == seconds


WRONG_TEXTS = (
    "",
    "h",
    "30m2h",
    "1h1h",
    "15 minutes",
    "-5s",
    "1e3",
    "nan",
    "inf",
    "5 5s",
    "1w",
    "1.s",
)
TOO_MUCH = ("9" * 99, "1" * 500, " " * 390 + "x", LONGEST + 1, 10**5000)


@pytest.mark.parametrize("text", WRONG_TEXTS)
def test_text_that_is_no_duration_is_refused(text):
    with pytest.raises(UnitError):
        parse_duration(text)


@pytest.mark.parametrize(
    "value", [*TOO_MUCH, -1, math.nan, math.inf, True, None, []], ids=lambda v: shown(v)[:12]
)
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(UnitError):
        parse_duration(value)


def test_a_negative_duration_is_called_negative():
    for text in ("-5s", -5):
        with pytest.raises(UnitError, match="negative"):
            parse_duration(text)


def tried(parse, text):
    try:
        return parse(text), None
    except UnitError as refused:
        return None, str(refused)


@given(st.text() | st.from_regex(r"[0-9.]{1,12} ?[a-zA-Z%]{0,3}", fullmatch=True))
def test_any_text_is_either_read_or_refused(text):
    for parse in (parse_size, parse_amount, parse_duration):
        value, fault = tried(parse, text)
        if fault is not None:
            assert ";" in fault  # what was wrong; what would be right
        else:
            assert isinstance(value, Amount) or 0 <= value < math.inf


@given(st.integers(0, LARGEST))
def test_a_size_survives_being_written(size):
    assert parse_size(format_size(size)) == size


@given(st.integers(1, 2**13), st.integers(0, 4))
def test_whole_units_are_written_as_such(count, power):
    text = format_size(count * 1024**power)
    assert parse_size(text) == count * 1024**power
    assert power == 0 or text.endswith("iB")


@given(st.floats(0, LONGEST))
def test_a_duration_survives_being_written(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(1, 10**6))
def test_a_share_survives_being_written(parts):
    amount = Amount(fraction=parts / 10**6)
    assert parse_amount(format_amount(amount)) == amount


@given(st.integers(-LARGEST, LARGEST))
def test_a_rounded_size_is_never_far_off(size):
    number, unit = format_bytes(size).split()
    factor = 1024 ** ["B", "KiB", "MiB", "GiB", "TiB", "PiB"].index(unit)
    assert abs(float(number) * factor - size) <= 0.051 * factor
    assert abs(float(number)) < 1024 or unit == "PiB"


@given(st.floats(0.001, LONGEST))
def test_a_rounded_duration_is_never_far_off(seconds):
    assert math.isclose(parse_duration(format_seconds(seconds)), seconds, rel_tol=0.51)
    if seconds > 1:
        assert math.isclose(parse_duration(format_seconds(seconds)), seconds, rel_tol=0.06)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (6_012_954_214, "5.6 GiB"),
        (512 * 1024**2, "512 MiB"),
        (GIB - 1, "1 GiB"),  # and not 1024.0 MiB
        (-3 * GIB // 2, "-1.5 GiB"),
    ],
)
def test_sizes_read_well(size, text):
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.04, "40ms"),
        (0.4, "0.4s"),
        (5, "5s"),
        (9.96, "10s"),
        (41.3, "41s"),
        (90, "1m30s"),
        (9000.4, "2h30m"),
        (93784, "1d2h"),
        (-41, "-41s"),
    ],
)
def test_durations_read_well(seconds, text):
    assert format_seconds(seconds) == text


def test_exact_forms_read_well():
    assert format_duration(900) == "15m"
    assert format_duration(0.25) == "250ms"
    assert format_duration(0) == "0s"
    assert format_size(256 * 1024**2) == "256MiB"
    assert format_amount(Amount(fraction=0.12)) == "12%"
    assert format_amount(ACCELERATOR_RESERVE) == "512MiB or 3%, the larger"
