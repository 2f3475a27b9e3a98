"""The daemon as a person meets it: how it starts, what it refuses, how it answers odd wishes."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from supervisor.web.requests import GONE
from tests.daemon import PATIENCE, POLL, STORY, Daemon, config
from tests.engines.fake import FakeLlamaRouter, FakeOllama

pytestmark = pytest.mark.slow


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(STORY):
            await story

    asyncio.run(bounded())


async def trail(daemon: Daemon, told: dict[str, str]) -> None:
    """Until the audit trail has one entry, of a load, that is so."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = (await daemon.get("audit"))["entries"]
            if [{k: e[k] for k in told} for e in found if e["what"] == "post_load"] == [told]:
                return
            await asyncio.sleep(POLL)


def busy(model: str, state: dict[str, Any]) -> bool:
    return any(m["model"] == model and m["busy"] for m in state["models"])


# -- it starts, or says why not


def test_without_any_engine_it_says_so_once_and_finds_one_that_starts_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            await server.stop()
            text = config({}, tables=f'[engines.late]\nurl = "{server.url}"')
            async with Daemon(tmp_path / "s", text) as daemon:
                state = await daemon.wait(lambda s: bool(s["engines"]))
                (late,) = state["engines"]
                assert (late["id"], late["up"]) == ("late", False)
                _, out, _ = await daemon.cli("status")
                assert re.search(r"engine down +late at http.*looking again", out)
                await server.start()
                server.take("a")
                await daemon.wait_for_models("a")
                assert daemon.log.count("engine_down late: Connection refused") == 1
                assert daemon.log.count("found llamacpp at") == 1

    run(story())


def test_where_there_is_nothing_to_look_after_it_points_to_the_demo_once(tmp_path: Path) -> None:
    async def story() -> None:
        # Whether an engine runs on this machine is not for the test to say: none may be found.
        usual = config({}).replace("detect = false", "detect = true")
        async with Daemon(tmp_path / "s", usual) as daemon:
            _, out, _ = await daemon.cli("status")
            found = (await daemon.state())["engines"]
            if not found:
                assert daemon.log.count("no engine found") == 1
                assert "ullage demo" in daemon.log
                assert "No engine was found" in out
        async with Daemon(tmp_path / "s", config({})) as daemon:
            await daemon.until(lambda: "nothing to look after" in daemon.log)

    run(story())


def test_every_mistake_of_the_configuration_is_said_with_its_line_and_exit_code_3(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        text = 'mod = "enforce"\nsample_interval = "fast"\n[pools.ram]\nreserve = "120%"\n'
        text += '[engines.x]\nkind = "lama"\nurl = "http://10.0.0.1:1"\n'
        daemon = Daemon(tmp_path / "s", text, env={"ULLAGE_LISTEN_PROT": "1"})
        daemon.flags = ("--set", "watchdog.idel=true", "--log-level", "loud")
        code, said = await daemon.fails()
        assert code == 3
        for line in (1, 2, 4, 6, 7):
            assert f"ullage.toml:{line}: " in said, said
        for words in ("did you mean mode", "ULLAGE_LISTEN_PROT", "did you mean ULLAGE_LISTEN_PORT",
                      "watchdog.idel", "log_level", "8 mistakes"):  # fmt: skip
            assert words in said, said
        assert "Traceback" not in said
        assert sorted(p.name for p in daemon.folder.iterdir()) == ["ullage.toml"]

    run(story())


def test_a_port_in_use_is_one_sentence_exit_code_1_and_nothing_left_behind(tmp_path: Path) -> None:
    async def story() -> None:
        async with Daemon(tmp_path / "a", config({})) as first:
            port = first.url.rpartition(":")[2]
            socket = tmp_path / "u.sock"
            second = Daemon(tmp_path / "b", config({}), flags=("--port", port))
            second.flags += ("--socket", str(socket))
            code, said = await second.fails()
            assert code == 1
            (error,) = [line for line in said.splitlines() if line.startswith("error:")]
            assert f"127.0.0.1:{port} is in use" in error
            assert "--port" in error
            assert not socket.exists()
            assert [p.name for p in second.folder.iterdir()] == ["ullage.toml"]
            assert "Traceback" not in said

    run(story())


def test_a_second_daemon_on_the_same_state_is_refused_with_the_pid_of_the_first(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with Daemon(tmp_path / "s", config({})) as first:
            code, said = await Daemon(tmp_path / "s", config({})).fails()
            assert code == 1
            assert f"another ullage (pid {first.process.pid}) keeps its journal in" in said
            assert "listening" not in said
            assert (await first.client.get("/readyz")).status_code == 200
        async with Daemon(tmp_path / "s", config({})) as third:  # let go of, not left behind
            await third.stop(signal.SIGKILL)
        async with Daemon(tmp_path / "s", config({})):  # also when it could not be
            pass
        assert not (tmp_path / "s" / "ullage.lock").exists()

    run(story())


# -- what people ask of it


def test_an_unknown_model_is_exit_code_6_with_the_closest_names(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["qwen3:8b", "gemma"]) as server:
            async with Daemon(tmp_path / "s", config({"llama": server})) as daemon:
                for command in ("evict", "load", "why", "pin"):
                    code, out, err = await daemon.cli(command, "qwen")
                    assert (code, out) == (6, "")
                    assert "no model is called 'qwen'; did you mean qwen3:8b" in err
                    assert "ullage models" in err

    run(story())


def test_what_is_refused_is_exit_code_5_with_the_reason_and_what_to_do(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b", "c"]) as server:
            for model in server.models:
                server.take(model)
            server.busy["b"] = 1
            async with Daemon(tmp_path / "s", config({"llama": server})) as daemon:
                await daemon.wait(lambda s: busy("b", s))
                assert (await daemon.cli("pin", "a"))[0] == 0
                for words in (["a"], ["a", "--force"]):
                    code, _, err = await daemon.cli("evict", *words)
                    assert code == 5
                    assert "stayed: it is pinned" in err
                    assert "ullage unpin llama/a" in err
                code, _, err = await daemon.cli("evict", "b", "--no-wait")
                assert code == 5
                assert "stayed: it was serving a request" in err
                assert "ullage evict --force llama/b" in err
                code, _, err = await daemon.cli("evict", "--all", "--no-wait")
                assert code == 5  # and whoever may go has gone
                assert server.loaded == ["a", "b"]
                assert "unload llama/c: done" in err
                code, out, _ = await daemon.cli("evict", "b", "--force")
                assert code == 0
                assert "unload llama/b: done" in out
                code, out, _ = await daemon.cli("evict", "b")
                assert (code, out.splitlines()[1]) == (0, "there was nothing to do")
                code, out, _ = await daemon.cli("decisions")
                assert "nobody went: llama/a (pinned)" in out

    run(story())


def test_a_busy_model_is_waited_for_and_goes_when_it_falls_idle(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            server.take("a")
            server.busy["a"] = 1
            async with Daemon(tmp_path / "s", config({"llama": server})) as daemon:
                await daemon.wait(lambda s: busy("a", s))
                asked = asyncio.create_task(daemon.cli("evict", "a"))
                await daemon.wait(lambda s: bool(s["leaving"]))
                seen = len(server.calls("GET /slots"))
                while len(server.calls("GET /slots")) < seen + 5:
                    await asyncio.sleep(0)
                assert server.loaded == ["a"]
                server.busy["a"] = 0
                code, out, err = await asked
                assert (code, server.loaded) == (0, []), err
                assert "llama/a is leaving (contexts=1)" in out
                assert "waiting: llama/a is leaving (contexts=1)" in err
                assert "llama/a has left" in out
                assert "unload llama/a: freed (contexts=0)" in daemon.log

    run(story())


def test_whoever_hangs_up_while_waiting_has_taken_the_wish_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.busy["a"] = 1
            known = '[models.b]\nmemory = "1MiB"'
            # However slow this machine is: it waits until it is told to give up.
            lines = ("max_active_backends = 1", "lru_eviction_max_retries = 10000")
            text = config({"llama": server}, *lines, tables=known)
            async with Daemon(tmp_path / "s", text) as daemon:
                await daemon.wait(lambda s: busy("a", s))
                body = {"model": "b"}  # for which "a" would have to go
                asked = asyncio.create_task(daemon.client.post("/api/v1/load", json=body))
                await trail(daemon, {"result": "begun"})
                asked.cancel()
                await trail(daemon, {"result": "failed", "why": GONE})
                server.busy["a"] = 0
                await daemon.wait(lambda s: not busy("a", s))
                ticks = await daemon.metric("ullage_samples_total")
                while await daemon.metric("ullage_samples_total") < ticks + 6:
                    pass
                assert server.loaded == ["a"]
                assert await daemon.decisions() == []

    run(story())


@pytest.mark.parametrize("mode", ["observe", "advise"])
def test_a_daemon_that_only_looks_refuses_people_at_once_and_says_so(
    tmp_path: Path, mode: str
) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a", "b"]) as server:
            server.take("a")
            server.take("b")
            server.busy["b"] = 1
            text = config({"llama": server}, f'mode = "{mode}"', "max_active_backends = 1")
            async with Daemon(tmp_path / "s", text) as daemon:
                await daemon.wait(lambda s: busy("b", s) and bool(s["findings"]))
                ticks = await daemon.metric("ullage_samples_total")
                while await daemon.metric("ullage_samples_total") < ticks + 10:
                    pass
                planned = await daemon.decisions()
                assert [d["trigger"] for d in planned] == (["limit"] if mode == "advise" else [])
                for model in ("a", "b"):
                    code, _, err = await daemon.cli("evict", model)
                    assert code == 5
                    assert "this daemon only says what it would do" in err
                assert "tries while busy" not in daemon.log  # nobody waits for nothing
                assert server.loaded == ["a", "b"]
                assert server.calls("POST /models/unload") == []

    run(story())


ODD = ["org/model:7b", "two words", "наука-模型-🦙", "a" * 300, "--all", "-rf", "100%", "{}",
       "a\"b'c", "$(reboot)", "[bold]x[/bold]", "\u202eevil", "z\u200dw", "x\u00a0y"]  # fmt: skip


def test_no_name_of_a_model_breaks_a_command_or_reaches_the_terminal_raw(tmp_path: Path) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(ODD) as server, FakeOllama(["sane", "a\x1b[2Jb"]) as sick:
            for model in ODD:
                server.take(model)
            sick.take("sane")
            text = config({"odd": server, "sick": sick}, settle="100ms")
            async with Daemon(tmp_path / "s", text) as daemon:
                await daemon.wait(lambda s: len(s["models"]) == len(ODD))
                commands = [["status"], ["models"], ["decisions"]]
                for model in ODD[1:6]:
                    commands += [["why", "--", model], ["evict", "--", model]]
                for words in [*commands, ["decisions"], ["status", "--json"]]:
                    code, out, err = await daemon.cli(*words)
                    assert (code, err) == (0, ""), (words, err)
                    assert all(line.isprintable() for line in out.splitlines()), (words, out)
                assert len(server.loaded) == len(ODD) - 5
                _, out, _ = await daemon.cli("status")
                assert re.search(r"engine degraded +sick at .* expected a name", out)
                assert (await daemon.client.get("/metrics")).status_code == 200
                assert (await daemon.client.get("/plain")).status_code == 200
            assert all(c.isprintable() or c == "\u202e" for c in daemon.log.replace("\n", ""))

    run(story())


# -- who may ask


def test_without_a_token_this_machine_may_change_things_and_no_page_of_another_site(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as server:
            async with Daemon(tmp_path / "s", config({"llama": server})) as daemon:
                body = {"model": "a"}
                assert (await daemon.post("pin", body)).status_code == 200
                for headers, status in (
                    ({"Host": "evil.example"}, 421),
                    ({"Origin": "https://evil.example"}, 403),
                    ({"Sec-Fetch-Site": "cross-site"}, 403),
                ):
                    reply = await daemon.client.post("/api/v1/unpin", json=body, headers=headers)
                    assert reply.status_code == status
                    assert reply.headers["content-type"] == "application/problem+json"
                assert (await daemon.state())["pins"] == ["llama/a"]

    run(story())


def test_with_a_token_nothing_but_health_is_told_without_it(tmp_path: Path) -> None:
    async def story() -> None:
        token = "0123456789abcdef-token"
        file = tmp_path / "token"
        file.write_text(token)
        file.chmod(0o600)
        flags = ("--token-file", str(file))
        async with Daemon(tmp_path / "s", config({}), flags=flags, token=token) as daemon:
            for path, status in (("/healthz", 200), ("/api/v1/state", 401), ("/metrics", 401)):
                reply = await daemon.client.get(path, headers={"Authorization": ""})
                assert reply.status_code == status
            code, _, err = await daemon.cli("status")
            assert code == 9  # not allowed
            assert "ULLAGE_TOKEN" in err
            assert (await daemon.cli("status", "--token-file", str(file)))[0] == 0
            assert (await daemon.cli("status", ULLAGE_TOKEN=token))[0] == 0
            assert (await daemon.cli("status", ULLAGE_TOKEN=token[::-1]))[0] == 9
            assert token not in daemon.log

    run(story())
