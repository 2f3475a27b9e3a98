"""A comparison as a picture: well-formed, everybody in it, and drawn to scale."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from collectors.reading import Bytes
from supervisor.replay.compare import Comparison, compare
from supervisor.replay.picture import LONGEST_BAR, picture
from supervisor.replay.rules import RULES
from tests.replay.traces import trace

SVG = "{http://www.w3.org/2000/svg}"
NAMES = ("value", "lru", "single_model")


def compared(requests: str = "abcabcaabbcc" * 5) -> Comparison:
    models = {"a": (4, 1.0), "b": (4, 2.0), "c": (4, 5.0)}
    return compare(trace(models, requests), Bytes(8), [RULES[n] for n in NAMES])


def test_everybody_has_a_bar_as_long_as_what_was_paid() -> None:
    found = compared()
    root = ElementTree.fromstring(picture(found))
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert {"the oracle", *NAMES} <= set(texts)
    bars = [float(r.attrib["width"]) for r in root.iter(f"{SVG}rect")][1:]
    paid = sorted(r.figures.reload for r in found.results)
    assert bars[0] == pytest.approx(bars[1] * found.best / paid[0], abs=0.1)
    assert bars == sorted(bars)


def test_who_pays_far_more_is_cut_off_and_left_out_of_the_curves() -> None:
    found = compared("ab" * 60 + "c")
    worst = max(r.figures.reload for r in found.results)
    assert worst > LONGEST_BAR * found.best
    text = picture(found)
    root = ElementTree.fromstring(text)
    curves = [p for p in root.iter(f"{SVG}path") if p.attrib.get("fill") == "none"]
    assert len(curves) == len(NAMES)  # all but single_model, and the oracle
    bars = [float(r.attrib["width"]) for r in root.iter(f"{SVG}rect")][1:]
    assert bars[-1] / bars[0] == pytest.approx(LONGEST_BAR, rel=0.01)
    assert f"{worst:,.0f} s" in text


def test_curves_only_rise_and_stay_within_the_picture() -> None:
    text = picture(compared())
    root = ElementTree.fromstring(text)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for path in root.iter(f"{SVG}path"):
        if path.attrib.get("fill") == "none":
            ys = [float(y) for y in re.findall(r"V([\d.]+)", path.attrib["d"])]
            xs = [float(x) for x in re.findall(r"H([\d.]+)", path.attrib["d"])]
            assert ys == sorted(ys, reverse=True)
            assert xs == sorted(xs)
            assert 0 <= min(ys) <= max(ys) <= height
            assert max(xs) <= width


def test_a_name_cannot_break_the_picture() -> None:
    found = compared()
    named = Comparison(
        type(found.trace)("<script>&", found.trace.requests, found.trace.models),
        found.capacity, False, found.results, found.best, found.cold, found.loads, True,
    )  # fmt: skip
    assert "<script>" not in picture(named)
    ElementTree.fromstring(picture(named))


def test_nothing_to_show_is_shown_too() -> None:
    ElementTree.fromstring(picture(compared("")))
