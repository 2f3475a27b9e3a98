"""The daemon as a process: no secret leaves it, and neither links nor engines send it elsewhere."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from tests.daemon import Daemon, config
from tests.engines.fakes import FAKES

pytestmark = pytest.mark.slow

MAIN, KEY, SENDER, GUEST = (
    "main-secret-0123456789",
    "engine-secret-987654321",
    "sent-42",
    "guest-42",
)
QUIET = "\n".join(
    f'[{table}]\nsha256 = "{sha256(secret.encode()).hexdigest()}"' + more
    for table, secret, more in (
        ("listen.tokens.sender", SENDER, '\nscopes = ["alerts:write"]'),
        ("gateway.tokens.guest", GUEST, ""),
    )
)
ASKED = "state models decisions settings config version openapi.json events events?limit=1 savings"


def test_no_secret_is_shown_logged_or_written_down(tmp_path: Path) -> None:
    async def story() -> None:
        async with FAKES["ollama"](["m"]) as engine:
            engine.key = KEY
            token = tmp_path / "token"
            token.write_text(MAIN)
            token.chmod(0o600)
            listen = f'[listen]\ntoken_file = "{token}"\n'
            text = config({"one": engine}, tables=f'key = "{KEY}"\n{listen}{QUIET}')
            async with Daemon(tmp_path / "s", text, token=MAIN) as daemon:
                told = [daemon.file.with_name("nothing").name]
                for path in (*(f"/api/v1/{p}" for p in ASKED.split()), "/metrics", "/", "/healthz"):
                    reply = await daemon.client.get(path)
                    assert reply.status_code in (200, 404), (path, reply.status_code)
                    told += [reply.text, str(reply.headers)]
                for bad in ("Bearer wrong-secret-55555", f"Bearer {MAIN}x", f"Basic {MAIN}"):
                    headers = {"authorization": bad}
                    reply = await daemon.client.get(f"/api/v1/state?key={KEY}", headers=headers)
                    assert reply.status_code == 401
                    told.append(reply.text)
                evil = {"model": f"a\r\nbearer {MAIN} \x1b[2J"}
                await daemon.post("load", evil)
                engine.fault = "error"
                await daemon.wait(lambda s: any(e["fault"] for e in s["engines"]))
                for words in (("config", "show"), ("doctor",)):
                    _, out, err = await daemon.cli(*words, ULLAGE_TOKEN=MAIN)
                    told += [out, err]
                folder = daemon.folder
            told.append(daemon.log)
            told += [f.read_bytes().decode("latin-1") for f in folder.rglob("*") if f.is_file()
                     and f != daemon.file]  # fmt: skip
            whole = "\n".join(told)
            digests = [sha256(s.encode()).hexdigest() for s in (MAIN, KEY, SENDER, GUEST)]
            for secret in (MAIN, KEY, SENDER, GUEST, "wrong-secret-55555", *digests):
                at = whole.find(secret)
                assert at < 0, whole[max(0, at - 300) : at + 100]
            assert "\x1b" not in daemon.log

    asyncio.run(story())


def test_an_engine_that_sends_us_elsewhere_is_not_followed_nor_a_link_to_a_file_of_others(
    tmp_path: Path,
) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "s"
    precious.write_bytes(b"mine")
    folder.mkdir()
    (folder / "journal.db").symlink_to(precious)

    async def story() -> None:
        calls: list[bytes] = []

        async def metadata(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls.append(await reader.read(100))
            writer.close()

        elsewhere = await asyncio.start_server(metadata, "127.0.0.1", 0)
        port = elsewhere.sockets[0].getsockname()[1]
        to = f"http://127.0.0.1:{port}/latest/meta-data".encode()

        async def engine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            head = b"HTTP/1.1 307 Go\r\nConnection: close\r\nContent-Length: 0\r\nLocation: "
            writer.write(head + to + b"\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(engine, "127.0.0.1", 0)
        own = server.sockets[0].getsockname()[1]
        tables = f'[engines.one]\nkind = "ollama"\nurl = "http://127.0.0.1:{own}"\nkey = "{KEY}"'
        async with Daemon(folder, config({}, tables=tables)) as daemon:
            state = await daemon.wait(lambda s: any(e["fault"] for e in s["engines"]))
            assert not any(e["up"] for e in state["engines"])
            assert "journal.db" in daemon.log
            alert = {"status": "firing", "name": "x", "labels": {"engine": to.decode()}}
            await daemon.post("alerts/plain", alert)
            assert not calls
        server.close()
        elsewhere.close()

    asyncio.run(story())
    assert precious.read_bytes() == b"mine"
