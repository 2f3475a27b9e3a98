"""A real daemon with the rights that it has in the unit, and with the environment of the pod."""

from __future__ import annotations

import grp
import os
import platform
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from deploy import chart
from tests import sandbox
from tests.daemon import Card, Daemon, config
from tests.engines.fake import FakeOllama
from tests.nvml.fake_nvml import GIB
from tests.readers import GPU, read, reader_of, run
from tests.test_containers import CHART, environment
from tests.test_service import OPTIONS

pytestmark = pytest.mark.slow


IN_SANDBOX = (
    pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter is written for x86-64"),
    pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze"),
    pytest.mark.skipif(not sandbox.numbers(), reason="no numbers of system calls: linux-libc-dev"),
)


def in_sandbox(test: Callable[..., None]) -> Callable[..., None]:
    for mark in IN_SANDBOX:
        test = mark(test)
    return test


@in_sandbox
def test_with_the_calls_and_rights_of_the_unit_it_reads_its_driver_and_makes_room(
    tmp_path: Path, nvml_library: Path
) -> None:
    async def story() -> None:
        card = Card(tmp_path, nvml_library)
        inside = sandbox.enter(sandbox.allowed(OPTIONS["SystemCallFilter"]))
        async with FakeOllama(["a"]) as server:
            card.holds(server).take("a")
            daemon = Daemon(tmp_path / "s", config({"o": server}), card.env, before=inside)
            async with daemon:
                for pid in (daemon.pid, reader_of(daemon.pid)):
                    told = status(pid)
                    assert (told["Seccomp"], told["NoNewPrivs"]) == ("2", "1")
                    assert int(told["CapEff"], 16) == 0
                assert psutil.Process(reader_of(daemon.pid)).nice() > 0  # a call it needs
                assert read(await daemon.state()) == {"ram", GPU}
                code, out, err = await daemon.cli("unload", "a")
                assert code == 0, out + err
                await daemon.wait_for_models()
                assert card.used == GIB
                assert (await daemon.state())["journal"]["failures"] == 0
                assert "Traceback" not in daemon.log

    run(story())


@in_sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="groups are root's to give")
def test_the_socket_is_given_to_a_group_that_the_unit_lets_it_into_and_to_no_other(
    tmp_path: Path,
) -> None:
    """As SupplementaryGroups= does, by number or by a name that this machine has."""
    mine, foreign = [g for g in grp.getgrall() if g.gr_gid not in (0, os.getegid())][:2]
    inside = sandbox.enter(sandbox.allowed(OPTIONS["SystemCallFilter"]), [mine.gr_gid])

    async def story(group: str, owner: int, told: bool) -> None:
        folder = tmp_path / group
        path = folder / "api.sock"
        tables = f'[listen]\nsocket = "{path}"\nsocket_group = "{group}"\n'
        async with Daemon(folder, config({}, tables=tables), before=inside) as daemon:
            found = path.stat()
            assert (found.st_gid, stat.S_IMODE(found.st_mode)) == (owner, 0o660)
            assert ("stays with another group" in daemon.log) is told
            assert int(status(daemon.pid)["CapEff"], 16) == 0
            code, out, err = await daemon.cli("health", ULLAGE_URL=f"unix:{path}")
            assert code == 0, out + err

    run(story(mine.gr_name, mine.gr_gid, told=False))
    run(story(foreign.gr_name, os.getegid(), told=True))


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.skipif(sys.platform != "linux", reason="only there is all of 127/8 this machine's")
def test_in_the_pod_probes_and_prometheus_reach_it_and_nobody_else_without_the_token(
    tmp_path: Path,
) -> None:
    try:
        with chart.whole(CHART) as folder:
            objects = {o["kind"]: o for o in chart.rendered(folder, {})}
    except chart.Missing as error:
        pytest.skip(str(error))
    address, token = "127.0.0.2", "0123456789abcdef" * 2
    given = {"POD_IP": address}
    for name, entry in environment(objects).items():
        given.setdefault(name, entry.get("value", token).replace("$(POD_IP)", address))

    async def story() -> None:
        text = objects["ConfigMap"]["data"]["ullage.toml"]
        # Its port, which is free in a pod, is not this machine's to take.
        async with Daemon(tmp_path / "s", text, given, token=token) as daemon:
            assert daemon.url.startswith(f"http://{address}:")
            assert (await daemon.state())["mode"] == "advise"
            async with httpx.AsyncClient(base_url=daemon.url, trust_env=False) as stranger:
                for path in ("/healthz", "/readyz"):
                    assert (await stranger.get(path)).status_code == 200
                assert (await stranger.get("/metrics")).status_code == 401
                assert (await stranger.get("/healthz", headers={"host": "a.b"})).status_code == 421
            assert (await daemon.client.get("/metrics")).status_code == 200
            code, out, err = await daemon.cli("health", "--ready")
            assert (code, out) == (0, "ready\n"), err

    run(story())
