"""The configuration is read anew: when, and what is refused as a whole, and never half-read.

The watcher's looks are made by hand, at real files.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.rereading import House, told
from tests.web.fakes import EPOCH, GPU


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


# -- when it is read


def test_a_change_is_applied_when_two_looks_agree_and_not_before(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.look(3)
        assert (house.heard, house.reloading.read_at) == ([], EPOCH)
        house.write("max_active_backends = 3")
        await house.look(1)
        assert house.loop.policy.max_active == 0
        house.write("max_active_backends = 4")  # it is still being written
        await house.look(1)
        assert house.loop.policy.max_active == 0
        await house.look(1)
        assert house.loop.policy.max_active == 4
        assert house.rows["max_active_backends"] == ("4", f"file {house.file}")
        assert house.heard == [
            {"ok": True, "mistakes": [], "changed": ["max_active_backends"], "restart": []}
        ]
        assert house.reloading.read_at == house.reloading.checked_at == EPOCH + 12
        await house.look(3)
        assert len(house.heard) == 1

    told(tmp_path, story)


def test_a_file_that_is_written_while_it_is_read_is_left_for_later(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        reread = house.overrides.config.reread

        def interrupted() -> Any:
            fresh = reread()
            house.write("max_active_backends = 4 # more of it")
            return fresh

        house.write("max_active_backends = 3")
        object.__setattr__(house.overrides.config, "reread", interrupted)
        await house.look(2)
        (wrong,) = await house.refused()
        assert "is being written" in wrong
        assert (house.loop.policy.max_active, house.reloading.ok) == (0, True)
        object.__setattr__(house.overrides.config, "reread", reread)
        await house.look(2)
        assert house.loop.policy.max_active == 4

    told(tmp_path, story)


def test_whoever_asks_has_it_read_at_once(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.write("max_active_backends = 3")
        found = await house.reloading.now("asked")
        assert [str(d) for d in found.changed] == ["max_active_backends = 3 (it was 0)"]
        assert house.loop.policy.max_active == 3
        assert (await house.reloading.now("asked")).sentences == []
        await house.look(2)
        assert len(house.heard) == 1  # what was read is not read again

    told(tmp_path, story)


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for name, most in (("one", 1), ("two", 2)):
            (tmp_path / name).mkdir()
            (tmp_path / name / "ullage.toml").write_text(f"max_active_backends = {most}")
        data = tmp_path / "data"
        data.symlink_to("one")
        house.file.unlink()
        house.file.symlink_to("data/ullage.toml")
        await house.look()
        assert house.loop.policy.max_active == 1
        (tmp_path / "new").symlink_to("two")
        os.replace(tmp_path / "new", data)
        await house.look()
        assert house.loop.policy.max_active == 2

    told(tmp_path, story)


def test_a_change_that_keeps_its_size_and_its_time_is_seen(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        before = house.file.stat()
        house.file.write_text("max_active_backends = 4")
        os.utime(house.file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert house.file.stat().st_size == before.st_size
        await house.look()
        assert house.loop.policy.max_active == 4

    told(tmp_path, story, "max_active_backends = 3")


def test_a_file_that_appears_where_one_is_looked_for_is_taken_up(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        assert house.reloading.state["file"] is None
        await house.look()
        assert house.heard == []
        house.write("max_active_backends = 3")
        await house.look()
        assert house.loop.policy.max_active == 3
        assert house.reloading.state["file"] == str(house.file)
        house.file.unlink()
        await house.look()
        assert (house.reloading.ok, house.loop.policy.max_active) == (False, 3)

    told(tmp_path, story, None)


# -- what is refused


def test_a_bad_change_is_refused_as_a_whole_with_every_mistake_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(house: House) -> None:
        caplog.set_level(logging.INFO, "ullage.config")
        house.write('max_active_backends = 3\nprefetsh = true\nrelief_grace = "soon"')
        await house.look(5)
        state = house.reloading.state
        assert (state["ok"], state["read_at"]) == (False, EPOCH)
        assert state["mistakes"] == [
            'relief_grace: "soon" is not a duration; write it as "2h30m", "90s" or "250ms"'
            f" ({house.file}:3)",
            f"prefetsh: unknown key; did you mean prefetch? ({house.file}:2)",
        ]
        assert house.loop.policy.max_active == 1
        assert house.rows["max_active_backends"] == ("1", f"file {house.file}")
        assert house.heard == [
            {"ok": False, "mistakes": state["mistakes"], "changed": [], "restart": []}
        ]
        assert caplog.text.count("is refused for 2 mistakes; what was in force before") == 1
        assert {n: v for n, _, v in house.reloading.facts} == {
            "config_last_reload_successful": 0,
            "config_last_reload_success_timestamp_seconds": EPOCH,
        }
        await house.refused()
        assert len(house.heard) == 1
        house.write("max_active_backends = 1")  # as it was
        await house.look()
        assert house.heard[1:] == [{"ok": True, "mistakes": [], "changed": [], "restart": []}]
        assert house.reloading.state["mistakes"] == []

    told(tmp_path, story, "max_active_backends = 1")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda file: file.unlink(), "is not there any more; put it back, or start"),
        (lambda file: (file.unlink(), file.mkdir()), "is a folder now"),
        (lambda file: pipe(file), "is no plain file"),
        (lambda file: (file.unlink(), file.symlink_to(file)), "cannot be read: Too many levels"),
        (lambda file: file.write_bytes(b"a = 1\n\xff"), ":2: is not UTF-8 text"),
        (lambda file: file.write_text("[x"), ":1: is not TOML"),
    ],
    ids=["gone", "folder", "pipe", "circle", "bytes", "half"],
)
def test_a_file_that_cannot_be_read_leaves_all_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], object], says: str
) -> None:
    async def story(house: House) -> None:
        spoil(house.file)
        await house.look()
        (mistake,) = house.reloading.state["mistakes"]
        assert mistake.startswith(str(house.file))
        assert says in mistake
        assert says in (await house.refused())[0]
        assert house.loop.policy.max_active == 3

    told(tmp_path, story, "max_active_backends = 3")


def test_a_share_that_does_not_answer_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        async def call(work: object, deadline: float) -> Any:
            raise TimeoutError

        monkeypatch.setattr(house.reloading.aside, "call", call)
        await house.look()
        assert house.reloading.checked_at == EPOCH
        assert "no answer within 5 s" in (await house.refused())[0]

    told(tmp_path, story)


def test_what_contradicts_pins_or_the_machine_is_refused_with_its_line(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        for name in ("ollama/a", "ollama/b"):
            house.loop.keeping.pins.set(name, None)
        house.write(f'single_model_mode = true\n[pools."{GPU}"]\nreserve = "99GiB"')
        one, other = await house.refused()
        assert one == (
            "single_active_backend: is for one model at a time, and ollama/a and ollama/b are"
            f" pinned ({house.file}:1)"
        )
        assert other == f"pools.{GPU}.reserve: is 99.0 GiB, and {GPU} has 24.0 GiB ({house.file}:3)"
        assert not house.loop.policy.single

    told(tmp_path, story)


def test_a_token_that_is_another_in_its_file_is_taken_up_as_a_change_of_the_configuration(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        taken: list[tuple[str, ...]] = []
        house.reloading.take.append(lambda _: taken.append(house.overrides.current.fleet.tokens))
        file.write_text("1" * 16)
        await house.look(1)
        assert taken == []  # it may not be written whole
        await house.look(1)
        assert (taken, house.reloading.restart) == ([("1" * 16,)], ())
        assert house.heard[-1]["changed"] == ["fleet.token"]
        file.write_text("short")
        await house.look()
        assert (house.reloading.ok, house.overrides.current.fleet.tokens) == (False, ("1" * 16,))
        assert len(taken) == 1
        await house.look()
        file.write_text("2" * 16)
        await house.look()
        assert (house.reloading.ok, taken[1:]) == (True, [("2" * 16,)])
        await house.look(4)
        assert len(taken) == 2  # what was read is not read again

    file = tmp_path / "fleet.token"
    file.write_text("0" * 16)
    file.chmod(0o600)
    told(tmp_path, story, f'[fleet]\nname = "a"\ntoken_file = "{file}"')


def test_a_file_that_is_named_from_now_on_is_watched_and_not_read_twice(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        reads: list[object] = []
        house.reloading.take.append(reads.append)
        house.write(f'[fleet]\nname = "a"\ntoken_file = "{file}"')
        await house.look(4)
        assert len(reads) == 1
        file.write_text("1" * 16)
        await house.look(4)
        assert len(reads) == 2
        assert house.overrides.current.fleet.tokens == ("1" * 16,)
        file.unlink()
        await house.look()
        assert "cannot be read" in house.reloading.mistakes[0]

    file = tmp_path / "fleet.token"
    file.write_text("0" * 16)
    file.chmod(0o600)
    told(tmp_path, story, '[fleet]\nname = "a"')
