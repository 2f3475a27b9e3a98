"""The daemon by HTTPS, its certificate renewed while it runs, and the audit trail of its life."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import authority
from tests.daemon import Daemon, config
from tests.engines.fake import FakeLlamaRouter

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-the-operator"


def run(story: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(90):
            await story

    asyncio.run(bounded())


def subject(port: int, trust: ssl.SSLContext) -> str:
    """Whose certificate is shown."""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        with trust.wrap_socket(plain, server_hostname="localhost") as spoken:
            found: Any = spoken.getpeercert()
            return str(found["subject"][0][0][1])


def test_it_serves_by_tls_takes_a_renewed_certificate_and_knows_who_did_what(
    tmp_path: Path,
) -> None:
    issuer = authority(tmp_path)
    files = issuer.issue("first")
    tls = f'tls_cert = "{files.cert}"\ntls_key = "{files.key}"'
    tables = f'[listen]\ntoken = "{TOKEN}"\n{tls}\n[gateway]\n{tls}'

    async def story() -> None:
        async with FakeLlamaRouter(["a"]) as one:
            text = config({"one": one}, tables=tables)
            folder, trust = tmp_path / "s", issuer.trust()
            daemon = Daemon(folder, text, token=TOKEN, trust=trust)
            daemon.env |= {"ULLAGE_CAFILE": str(issuer.cafile), "ULLAGE_TOKEN": TOKEN}
            async with daemon:
                assert daemon.url.startswith("https://127.0.0.1:")
                port = int(daemon.url.rpartition(":")[2])
                code, out, err = await daemon.cli("status")
                assert code == 0, err
                code, out, err = await daemon.cli("health", ULLAGE_TOKEN="")
                assert (code, out) == (0, "it answers\n"), err
                (address,) = (await daemon.state())["gateway"]["addresses"]
                assert address.startswith("https://127.0.0.1:")
                gate = int(address.rpartition(":")[2])
                assert await asyncio.to_thread(subject, gate, trust) == "first"
                name = 'ullage_tls_certificate_expiry_timestamp_seconds{listener="gateway"}'
                before = await daemon.metric(name)

                for new, old in zip(issuer.issue("second", days=60), files, strict=True):
                    shutil.copy(new, old)
                await daemon.until(lambda: daemon.log.count("is new: good until") == 2)
                for each in (port, gate):
                    assert await asyncio.to_thread(subject, each, trust) == "second"
                assert await daemon.metric(name) > before

                assert (await daemon.post("pin", {"model": "a"})).status_code == 200
                wrong = {"authorization": "Bearer nobody-knows-this-one"}
                for _ in range(5):
                    assert (await daemon.client.get("/metrics", headers=wrong)).status_code == 401
                daemon.file.write_text(text.replace("detect", "prefetch = true\ndetect", 1))
                os.kill(daemon.pid, signal.SIGHUP)
                await daemon.until(lambda: "read by SIGHUP" in daemon.log)
            async with daemon:
                rows = (await daemon.get("audit"))["entries"][::-1]
                assert [(r["who"], r["what"], r["result"], r["times"]) for r in rows] == [
                    ("daemon", "start", "done", 1),
                    ("token", "post_pin", "done", 1),
                    ("nobody", "GET /metrics", "refused", 5),
                    ("signal", "configuration", "done", 1),
                    ("daemon", "stop", "done", 1),
                    ("daemon", "start", "done", 1),
                ]
                code, out, err = await daemon.cli("audit", "--who", "token")
                assert code == 0, err
                assert 'token at 127.0.0.1: post_pin {"model": "a"}: done (200)' in out

    run(story())


def test_it_does_not_start_with_a_key_that_everybody_may_read(tmp_path: Path) -> None:
    files = authority(tmp_path).issue("a")
    files.key.chmod(0o644)
    text = f'[listen]\ntls_cert = "{files.cert}"\ntls_key = "{files.key}"'

    async def story() -> None:
        code, log = await Daemon(tmp_path / "s", text).fails()
        assert code == 3
        assert f"listen.tls_key: {files.key} is open to everybody; chmod 640 it" in log

    run(story())
