"""A configuration that was read anew is in force as a whole, with what was set while running on
top; what cannot be is said."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from supervisor.events import Tick
from tests.configs import TOKEN
from tests.rereading import House, told
from tests.web.fakes import NOW

# -- what is in force then


def test_what_is_read_at_the_start_alone_waits_for_a_restart_and_is_shown_as_it_is(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        house.write(
            'max_active_backends = 3\nmode = "advise"\n[listen]\nport = 9\n'
            f'token = "{TOKEN}"\n[gateway]\nmax_held = 7'
        )
        found = await house.reloading.now("asked")
        waiting = ["gateway.max_held", "listen.port", "mode"]
        assert [d.key for d in found.restart] == waiting
        assert [d.key for d in found.changed] == ["listen.token", "max_active_backends"]
        assert "mode = advise (it was enforce): when the daemon is started anew" in found.sentences
        assert TOKEN not in "".join(found.sentences)
        assert house.rows["mode"] == ("enforce", "default")
        assert house.rows["listen.token"][0] == "set"
        assert house.overrides.current.token == TOKEN
        assert house.reloading.state["restart"] == waiting
        house.write('mode = "advise"')
        again = await house.reloading.now("asked")
        assert [d.key for d in again.restart] == ["mode"]
        house.write("")
        assert (await house.reloading.now("asked")).restart == ()
        assert house.heard[-1]["restart"] == []

    told(tmp_path, story)


DIGEST = "ab" * 32
API = f'[listen]\nhost = "0.0.0.0"\ntoken = "{TOKEN}"'
OPS = f'[listen]\nhost = "0.0.0.0"\n[listen.tokens.ops]\nsha256 = "{DIGEST}"\nscopes = ["admin"]'
DESK = f'[gateway.tokens.desk]\nsha256 = "{DIGEST}"'
OPEN = f'[gateway]\nhost = "0.0.0.0"\n{DESK}'
PAGES = f'[gateway]\ncors_origins = ["*"]\n{DESK}'
UNTIL = "until the daemon is started anew: keep one till then, or start it anew now"


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        (API, "", f"listen.token: is taken out, and it listens on 0.0.0.0 {UNTIL}"),
        (OPS, "", f"listen.token: is taken out, and it listens on 0.0.0.0 {UNTIL}"),
        (API, OPS, None),
        (OPS, f'[listen]\ntoken = "{TOKEN}"', None),
        (f'[listen]\ntoken = "{TOKEN}"', "", None),
        (OPEN, "", f"gateway.tokens: is taken out, and the gateway listens on 0.0.0.0 {UNTIL}"),
        (
            OPEN,
            "[gateway]\nenabled = false",
            f"gateway.tokens: is taken out, and the gateway listens on 0.0.0.0 {UNTIL}",
        ),
        (OPEN, DESK.replace("desk", "sofa"), None),
        (OPEN, '[gateway]\nhost = "0.0.0.0"\nallow_anyone = true', None),
        ('[gateway]\nhost = "0.0.0.0"\nallow_anyone = true', "", None),
        (
            PAGES,
            "",
            "gateway.tokens: is taken out, and the gateway serves every page that a browser here"
            f" opens {UNTIL}",
        ),
        (DESK, "", None),
    ],
)
def test_the_last_token_is_not_taken_from_what_others_reach_until_the_next_start(
    tmp_path: Path, before: str, after: str, wrong: str | None
) -> None:
    """Tokens are in force at once, and an address is not."""

    async def story(house: House) -> None:
        house.write(after)
        if wrong is None:
            await house.reloading.now("asked")
            return
        had = house.overrides.current
        (said,) = await house.refused()
        assert said.partition(" (")[0] == wrong
        assert house.overrides.current is had

    told(tmp_path, story, before)


def test_a_secret_that_was_written_anew_waits_too_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-1")
    text = '[engines.a]\nurl = "http://127.0.0.1:1"\nkey_file = "key"'
    (tmp_path / "key").chmod(0o600)

    async def story(house: House) -> None:
        (tmp_path / "key").write_text("sk-2")
        found = await house.reloading.now("asked")
        assert [d.key for d in found.restart] == ["engines.a.key"]
        assert "sk-" not in repr(found) + "".join(found.sentences)

    told(tmp_path, story, text)


def test_what_is_written_another_way_and_means_the_same_is_no_change(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.write(
            'single_active_backend = true\nrelief_grace = "1m"\nmax_active_backends = 0\n'
            '[models."a".watchdog]\n[watchdog]\nidle_timeout = "15m"\nidle = false'
        )
        assert (await house.reloading.now("asked")).sentences == []

    told(tmp_path, story, "single_model_mode = true\nrelief_grace = 60")


def test_a_timeout_that_is_given_switches_its_watchdog_on_and_that_is_said(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.write('[watchdog]\nidle_timeout = "15m"')
        found = await house.reloading.now("asked")
        assert [str(d) for d in found.changed] == ["watchdog.idle = true (it was false)"]

    told(tmp_path, story)


def test_flags_count_more_than_the_file_also_later(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.write('max_active_backends = 5\nrelief_grace = "1s"')
        found = await house.reloading.now("asked")
        assert [d.key for d in found.changed] == ["relief_grace"]
        assert house.rows["max_active_backends"][0] == "2"

    told(tmp_path, story, max_active_backends="2")


# -- together with what was set while running


def test_what_was_set_while_running_counts_more_and_that_is_said(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        await house.overrides.set("max_active_backends", "2")
        house.write("max_active_backends = 5\nprefetch = true")
        found = await house.reloading.now("asked")
        assert [d.key for d in found.changed] == ["prefetch"]
        assert found.sentences[1] == (
            "max_active_backends: the file says 5, and what was set while running counts more;"
            " `ullage settings unset max_active_backends` takes that back"
        )
        assert house.rows["max_active_backends"] == ("2", "override")
        assert (house.loop.policy.max_active, house.loop.policy.prefetch) == (2, True)
        await house.overrides.unset("max_active_backends")
        assert house.loop.policy.max_active == 5

    told(tmp_path, story)


def test_an_override_that_does_not_go_with_the_file_is_set_aside_until_it_does(
    tmp_path: Path,
) -> None:
    pair = '[groups.pair]\nmodels = ["a", "b"]\nrule = "always_together"'

    async def story(house: House) -> None:
        await house.overrides.set("max_active_backends", "1")
        await house.overrides.set("prefetch", "true")
        house.write(pair)
        found = await house.reloading.now("asked")
        why = "they are 2, and 1 may be active at once"
        assert list(found.set_aside) == ["max_active_backends"]
        assert why in found.set_aside["max_active_backends"]
        assert any(
            "max_active_backends, as it was set, is not in force" in s for s in found.sentences
        )
        assert house.overrides.set_aside == found.set_aside
        assert house.rows["max_active_backends"] == ("0", "default")
        assert (house.loop.policy.max_active, house.loop.policy.prefetch) == (0, True)
        assert (await house.reloading.now("asked")).set_aside == {}  # that has been said
        assert house.overrides.set_aside == found.set_aside
        house.write("")
        back = await house.reloading.now("asked")
        assert house.overrides.set_aside == {}
        assert "max_active_backends = 1 (it was 0)" in back.sentences
        assert house.loop.policy.max_active == 1

    told(tmp_path, story)


# -- what it does to the models


def test_a_lower_limit_says_who_leaves_and_is_applied_at_once_if_that_is_wished(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(house: House) -> None:
        caplog.set_level(logging.INFO, "ullage.config")
        house.write("single_model_mode = true")
        dry = await house.reloading.now("asked", dry_run=True)
        assert dry.sentences == [
            "single_active_backend = true (it was false)",
            "who is loaded stays for now; applied at once, ollama/a would leave",
            "before another model of ollama loads, ollama/a and ollama/b leave",
        ]
        assert not house.loop.policy.single
        assert house.heard == []
        await house.look()
        assert house.loop.policy.single
        assert all(line in caplog.text for line in dry.sentences)
        house.loop.post(Tick(NOW))
        await house.loop.changed()
        limiting = house.loop.witnesses.rules.limiting
        assert len(limiting.tolerated) == 2
        later = await house.reloading.now("asked", apply_now=True)
        assert later.sentences[0] == "ollama/a leaves now"
        assert limiting.tolerated == frozenset()

    told(tmp_path, story)


# -- engines


def test_an_engine_that_is_new_is_taken_up_and_one_that_is_another_waits(tmp_path: Path) -> None:
    old = '[engines.old]\nurl = "http://127.0.0.1:1"\n'
    two = (
        old + '[engines.new]\nkind = "ollama"\nurl = "http://127.0.0.1:2"\nmax_active_backends = 1'
    )

    async def story(house: House) -> None:
        house.write(two)
        dry = await house.reloading.now("asked", dry_run=True)
        assert [e.id for e in dry.engines] == ["new"]
        assert [e.id for e in house.scout.named] == ["old"]
        found = await house.reloading.now("asked")
        assert "engines.new is new" in found.sentences
        assert (found.restart, [e.id for e in house.scout.named]) == ((), ["old", "new"])
        assert house.rows["engines.new.url"] == ("http://127.0.0.1:2", f"file {house.file}")
        house.write(two.replace(":1", ":11"))
        assert [d.key for d in (await house.reloading.now("asked")).restart] == ["engines.old.url"]
        assert house.rows["engines.old.url"][0] == "http://127.0.0.1:1"
        house.write(old)
        gone = await house.reloading.now("asked")
        assert "engines.new is gone: when the daemon is started anew" in gone.sentences
        assert house.rows["engines.new.url"][0] == "http://127.0.0.1:2"  # it is still there
        assert len(house.scout.named) == 2

    told(tmp_path, story, old)


def test_an_engine_whose_unit_is_ours_to_look_after_waits(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.write('[engines.new]\nurl = "http://127.0.0.1:2"\nservice_unit = "new.service"')
        found = await house.reloading.now("asked")
        assert found.sentences == ["engines.new is new: when the daemon is started anew"]
        assert (found.engines, list(house.scout.named)) == ((), [])
        assert "engines.new.url" not in house.rows
        assert house.reloading.state["restart"] == ["engines.new"]

    told(tmp_path, story)
