"""A daemon whose tokens come and go while it runs, as somebody sets up an Alertmanager."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.canned import ullage
from tests.daemon import Daemon, config

pytestmark = pytest.mark.slow

# As Alertmanager 0.25 sends it, shortened.
DELIVERY = {
    "receiver": "ullage",
    "status": "firing",
    "version": "4",
    "truncatedAlerts": 0,
    "groupKey": '{}:{alertname="InstanceDown"}',
    "groupLabels": {"alertname": "InstanceDown"},
    "commonLabels": {"alertname": "InstanceDown"},
    "commonAnnotations": {},
    "externalURL": "http://box:9093",
    "alerts": [
        {
            "status": "firing",
            "labels": {"alertname": "InstanceDown", "instance": "box:9100"},
            "annotations": {"summary": "it is down"},
            "startsAt": "2026-11-21T01:34:36.785Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://box:9090/graph",
            "fingerprint": "8ba3fc07523a9211",
        }
    ],
}


def made(name: str, *words: str) -> tuple[str, str]:
    """A token, and the lines that know it."""
    found = json.loads(ullage("token", name, *words, "--json").stdout)
    return found["token"], found["config"]


def test_a_token_for_alerts_is_good_for_them_alone_and_for_as_long_as_it_is_in_the_file(
    tmp_path: Path,
) -> None:
    secret, lines = made("alertmanager", "--scope", "alerts:write", "--expires", "2099-12-31")

    async def story() -> None:
        before = config({})
        async with Daemon(tmp_path / "s", before) as daemon:

            async def send(token: str | None = None, path: str = "alerts") -> int:
                headers = {"authorization": f"Bearer {token}"} if token else {}
                to = f"/api/v1/{path}"
                reply = await daemon.client.post(to, json=DELIVERY, headers=headers)
                return reply.status_code

            async def rows() -> list[Any]:
                found: list[Any] = (await daemon.get("alerts"))["alerts"]
                return found

            assert await send() == 202  # there is no token: whoever is on this machine may
            assert [row["by"] for row in await rows()] == ["local"]

            daemon.file.write_text(f"{before}\n{lines}")
            reply = await daemon.post("config/reload", {})
            assert reply.status_code == 200, reply.text
            assert reply.json()["restart"] == []
            assert await send() == 401
            assert await send(secret + "x") == 401
            assert await send(secret) == 202
            assert await send(secret, "evict") == 403
            refused = await daemon.client.get(
                "/api/v1/state", headers={"authorization": f"Bearer {secret}"}
            )
            assert refused.status_code == 403
            assert refused.json()["has"] == ["alerts:write"]
            (token,) = (await daemon.state())["callers"]["tokens"]
            assert (token["name"], token["requests"]) == ("alertmanager", 1)
            settings = {s["key"]: s for s in (await daemon.get("settings"))["settings"]}
            assert settings["listen.tokens.alertmanager.scopes"]["value"] == "alerts:write"
            assert not settings["listen.tokens.alertmanager.scopes"]["settable"]
            reply = await daemon.client.put(
                "/api/v1/settings/listen.tokens.alertmanager.scopes", json={"value": "alerts:force"}
            )
            assert reply.status_code == 422
            assert "is taken from the file alone" in reply.text

            other, more = made("next", "--scope", "alerts:write")
            daemon.file.write_text(f"{before}\n{more}")
            assert (await daemon.post("config/reload", {})).status_code == 200
            assert (await send(secret), await send(other)) == (401, 202)
            assert "an alert is refused: this needs a token with alerts:write" in daemon.log
            for text in (secret, other, lines.split('"')[1]):
                assert text not in daemon.log

    asyncio.run(asyncio.wait_for(story(), 60))


def test_every_token_is_another_without_a_restart_and_the_socket_knows_who_connects(
    tmp_path: Path,
) -> None:
    """Main token, one with scopes and one of the gateway, by SIGHUP; on the loop of the daemon."""
    main, file = "the-main-token-0123456789", tmp_path / "token"
    file.write_text(main)
    file.chmod(0o600)
    desk, lines = made("desk", "--scope", "read", "--scope", "gateway")
    laptop, more = made("laptop")
    text = config({}, tables=f'[listen]\nsocket = "{tmp_path}/s"\ntoken_file = "{file}"\n')

    async def story() -> None:
        async with Daemon(tmp_path / "s.d", f"{text}{lines}", token=desk) as daemon:
            gateway = (await daemon.state())["gateway"]["addresses"][0]

            async def status(token: str, path: str = "", method: str = "GET") -> int:
                headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
                url = path if path.startswith("http") else f"/api/v1/{path}"
                reply = await daemon.client.request(method, url, headers=headers)
                return reply.status_code

            async def hup() -> None:
                before = daemon.log.count("read by SIGHUP")
                os.kill(daemon.pid, signal.SIGHUP)
                await daemon.until(lambda: daemon.log.count("read by SIGHUP") > before)

            assert [await status(main, "state"), await status(desk, "state")] == [200, 200]
            assert await status(desk, "pause", "DELETE") == 403
            assert await status(main, "pause", "DELETE") == 200
            models = f"{gateway}/v1/models"
            assert [await status(t, models) for t in (desk, laptop)] == [200, 401]
            code, out, err = await daemon.cli("pause", ULLAGE_TOKEN=desk)
            assert (code, out) == (9, "")
            assert "POST /api/v1/pause needs operate; token desk has read, gateway" in err
            assert "try: --token-file FILE or ULLAGE_TOKEN with one that has operate" in err
            code, out, _ = await daemon.cli("status", ULLAGE_TOKEN=desk)
            assert (code, "tokens: token (admin), used" in out) == (0, True)

            async with daemon.client.stream(
                "GET", "/api/v1/events", headers={"accept": "text/event-stream"}
            ) as events:
                assert events.status_code == 200
                file.write_text(main + "-2")
                daemon.file.write_text(f"{text}{more}")
                await hup()
                async for _ in events.aiter_lines():
                    pass  # it ends
            assert [await status(t, "state") for t in (main, main + "-2", desk)] == [401, 200, 401]
            assert [await status(t, models) for t in (desk, laptop)] == [401, 200]

            url = f"unix:{tmp_path}/s"
            code, out, _ = await daemon.cli("pause", ULLAGE_URL=url)
            assert code == 0, out
            code, out, _ = await daemon.cli("continue", ULLAGE_URL=url)
            assert code == 0, out
            for secret in (main, desk, laptop):
                assert secret not in daemon.log

    asyncio.run(asyncio.wait_for(story(), 60))
