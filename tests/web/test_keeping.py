"""The routes of leases, reservations and retentions, and what the state says of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from collectors.reading import gib
from supervisor.journal.journal import Journal
from supervisor.web.page import page
from tests.journals import Disk, query
from tests.web.fakes import API, EPOCH, GPU, Story, World, play, running, site

KEPT = "SELECT key FROM shelves WHERE shelf = 'leases'"
QWEN = "ollama/qwen3:8b"  # is loaded, and idle
LLAMA = "ollama/llama3:70b"  # is loaded, and busy
GEMMA = "ollama/gemma3:4b"  # is installed


def told(story: Story) -> Any:
    return play(story)


async def state(http: httpx.AsyncClient) -> Any:
    return (await http.get(f"{API}/state")).json()


def test_a_lease_is_opened_shown_renewed_and_closed() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        body = {"model": "qwen3:8b", "client": "agent", "ttl": "5m"}
        opened = await http.post(f"{API}/leases", json=body)
        assert opened.status_code == 201
        lease = opened.json()["lease"]
        assert (lease["model"], lease["client"], lease["ttl"]) == (QWEN, "agent", 300)
        assert (lease["status"], lease["left"], lease["expires"]) == ("loaded", 300, EPOCH + 300)
        found = await state(http)
        assert [e["id"] for e in found["leases"]] == [lease["id"]]
        (row,) = [m for m in found["models"] if m["name"] == QWEN]
        assert row["contexts"] == 1
        assert row["kept_by"] == ["leased by agent (5 min left)"]
        at = f"{API}/leases/{lease['id']}"
        assert (await http.get(at)).json()["lease"] == lease
        for renew in (http.post, http.put):
            again = await renew(f"{at}/renew", json={"ttl": 60})
            assert again.json()["lease"]["left"] == 60
        listed = await http.get(f"{API}/leases", params={"model": "qwen3:8b"})
        assert len(listed.json()["leases"]) == 1
        other = await http.get(f"{API}/leases", params={"model": "llama3:70b"})
        assert other.json() == {"leases": []}
        assert (await http.delete(at)).json() == {"closed": lease["id"], "model": QWEN}
        gone = [await http.delete(at), await http.get(at), await http.post(f"{at}/renew", json={})]
        assert [r.status_code for r in gone] == [404] * 3
        assert "no lease is called" in gone[0].json()["detail"]

    told(story)


def test_a_lease_on_what_is_not_loaded_loads_it_and_one_that_cannot_be_is_refused() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        loaded = (await http.post(f"{API}/leases", json={"model": "gemma3:4b"})).json()
        assert (loaded["ok"], loaded["lease"]["client"]) == (True, "unnamed")
        assert loaded["decision"]["actions"]
        nobody = await http.post(f"{API}/leases", json={"model": "nobody"})
        assert nobody.status_code == 404
        assert "`ollama pull nobody`" in nobody.json()["detail"]
        await http.post(f"{API}/drain", json={"engine": "ollama"})
        drained = await http.post(f"{API}/leases", json={"model": "unheard-of"})
        assert drained.status_code == 409
        assert len((await state(http))["leases"]) == 1

    told(story)


def test_an_unload_of_what_is_in_use_is_accepted_and_shown_until_a_pin_takes_it_back() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        reply = await http.post(f"{API}/evict", json={"models": ["llama3:70b"]})
        assert reply.status_code == 202
        found = reply.json()
        assert (found["ok"], found["leaving"]) == (True, [{"model": LLAMA, "contexts": 1}])
        assert found["sentences"][-1] == (
            f"{LLAMA} is leaving (contexts=1): it goes when nobody uses it any more"
        )
        now = await state(http)
        assert now["leaving"] == [LLAMA]
        (row,) = [m for m in now["models"] if m["name"] == LLAMA]
        assert (row["status"], row["contexts"]) == ("leaving", 1)
        assert "leaving (contexts=1)" in page(now)
        refused = await http.post(f"{API}/leases", json={"model": "llama3:70b"})
        assert refused.status_code == 409
        assert "contexts=1" in refused.json()["detail"]
        why = (await http.get(f"{API}/why", params={"model": "llama3:70b"})).json()
        assert any("is leaving (contexts=1)" in line for line in why["sentences"])
        metrics = (await http.get("/metrics")).text
        assert 'ullage_models{engine="ollama",status="leaving"} 1' in metrics
        await http.post(f"{API}/pin", json={"model": "llama3:70b", "for": "2h"})
        now = await state(http)
        assert (now["leaving"], now["pins"], now["pins_end"]) == (
            [],
            [LLAMA],
            {LLAMA: EPOCH + 7200},
        )
        (row,) = [m for m in now["models"] if m["name"] == LLAMA]
        assert (row["status"], row["kept_by"]) == (
            "loaded",
            ["pinned for 2 h 0 min more", "1 in flight"],
        )
        kept = await http.post(f"{API}/evict", json={"models": ["llama3:70b"]})
        assert (kept.status_code, kept.json()["ok"]) == (200, False)

    told(story)


def test_a_pin_may_say_until_when() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        body = {"model": "qwen3:8b", "until": EPOCH + 60}
        assert (await http.post(f"{API}/pin", json=body)).json()["until"] == EPOCH + 60
        over = await http.post(f"{API}/pin", json=body | {"until": EPOCH - 1})
        assert over.json()["errors"] == ["until: that is over already"]
        both = await http.post(f"{API}/pin", json=body | {"for": "1m"})
        assert both.json()["errors"] == ["say one of for and until, not both"]

    told(story)


def test_bytes_are_reserved_shown_renewed_and_given_back() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        body = {"size": "2GiB", "client": "train", "for": "2h", "pids": [99]}
        granted = await http.post(f"{API}/reservations", json=body)
        assert granted.status_code == 201
        row = granted.json()["reservation"]
        assert (row["pool"], row["client"], row["left"]) == (GPU, "train", 7200)
        assert (row["used"], row["held"]) == (gib(2), 0)  # blender, of that pid, has them
        more = await http.post(f"{API}/reservations", json={"size": "3GiB"})
        assert more.json()["reservation"]["held"] == gib(3)
        now = next(p for p in (await state(http))["pools"] if p["id"] == GPU)
        assert (now["promised"], now["headroom"]) == (gib(3), gib(2.5))
        metrics = (await http.get("/metrics")).text
        assert f'ullage_job_reserved_bytes{{pool="{GPU}"}} 3.221225472e+09\n' in metrics
        at = f"{API}/reservations/{row['id']}"
        renewed = await http.post(f"{at}/renew", json={"for": "1m", "pids": [100]})
        assert renewed.json()["reservation"]["left"] == 60
        assert renewed.json()["reservation"]["pids"] == [99, 100]
        assert (await http.get(at)).json()["reservation"]["left"] == 60
        listed = (await http.get(f"{API}/reservations")).json()["reservations"]
        assert len(listed) == 2
        assert (await http.delete(at)).json() == {"closed": row["id"]}
        assert (await http.delete(at)).status_code == 404

    told(story)


def test_what_does_not_fit_is_refused_with_the_reasons() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        reply = await http.post(f"{API}/reservations", json={"size": "60GiB", "wait": False})
        found = reply.json()
        assert (reply.status_code, found["ok"], found["reservation"]) == (200, False, None)
        assert found["sentences"]
        assert (await state(http))["reservations"] == []
        unknown = await http.post(f"{API}/reservations", json={"size": "1GiB", "pool": "x"})
        assert unknown.status_code == 404

    told(story)


def test_a_retention_is_set_shown_and_reset() -> None:
    async def story(http: httpx.AsyncClient) -> None:
        at = f"{API}/retention"
        model = await http.post(at, json={"model": "qwen3:8b", "retention": "on_demand"})
        assert model.json()["scope"] == f"model {QWEN}"
        engine = await http.post(at, json={"engine": "ollama", "keep_alive": "-1"})
        assert engine.json() == {
            "scope": "engine ollama",
            "retention": "keep_alive",
            "keep_alive": -1,
        }
        await http.post(at, json={"retention": "keep_alive", "keep_alive": "5m"})
        found = (await http.get(at)).json()["retention"]
        assert [row["scope"] for row in found] == [f"model {QWEN}", "engine ollama", "host"]
        assert (await state(http))["retention"] == found
        await http.post(at, json={"model": "qwen3:8b", "retention": "pinned"})
        (row,) = [m for m in (await state(http))["models"] if m["name"] == QWEN]
        assert row["pinned"]
        assert (await http.post(at, json={"reset": True})).json()["reset"] is True
        assert (await http.post(at, json={"engine": "x", "reset": True})).status_code == 404

    told(story)


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("leases", {}, "model: is missing"),
        ("leases", {"model": "a", "ttl": 0}, "ttl: Input should be greater than or equal to 1"),
        ("leases", {"model": "a", "tll": 5}, "tll: there is no such key; did you mean ttl?"),
        ("reservations", {"size": 0}, "size: there is nothing to keep free"),
        ("reservations", {"size": "1GiB", "pids": [0]}, "pids.0: Input should be greater than 0"),
        ("reservations", {"size": "1GiB", "period": 3}, "period: there is no such key"),
        ("retention", {}, "say retention or keep_alive, or else reset"),
        ("retention", {"reset": True, "retention": "pinned"}, "say retention or keep_alive, or"),
        ("retention", {"model": "a", "engine": "b", "reset": True}, "say one of model and engine"),
        ("retention", {"retention": "often"}, 'retention: "often" is not one of pinned'),
        ("retention", {"retention": "pinned", "keep_alive": 5}, "keep_alive goes with retention"),
        ("retention", {"keep_alive": "soon"}, 'keep_alive: "soon" is not a duration'),
        ("pin", {"model": "a", "for": 0}, "for: Input should be greater than 0"),
    ],
)
def test_every_mistake_of_a_body_is_told(path: str, body: Any, error: str) -> None:
    async def story(http: httpx.AsyncClient) -> Any:
        return await http.post(f"{API}/{path}", json=body)

    reply = told(story)
    assert reply.status_code == 422
    assert any(e.startswith(error) for e in reply.json()["errors"]), reply.json()


def test_a_machine_that_holds_nothing_says_so() -> None:
    async def story(http: httpx.AsyncClient) -> Any:
        return await state(http)

    found = play(story, World())
    assert [found[k] for k in ("leases", "reservations", "retention", "leaving")] == [[]] * 4
    assert "Leases: none." in page(found)


@pytest.mark.parametrize("refused", [False, True])
def test_whoever_is_answered_may_rely_on_it_however_the_daemon_ends(
    tmp_path: Path, refused: bool
) -> None:
    """What was refused too: a lease was written down that is then taken back."""

    async def story() -> None:
        of, disk = site(World()), Disk()
        of.loop.journal = Journal(tmp_path / "journal.db", connect=disk.connect)
        of.loop.keeping.leases.shelf = of.loop.journal.shelves["leases"]
        async with running(of) as http:
            body = {"model": "qwen3:8b", "client": "agent", "ttl": "5m"}
            lease = (await http.post(f"{API}/leases", json=body)).json()["lease"]["id"]
            assert query(tmp_path / "journal.db", KEPT) == [(lease,)]
            if refused:
                await http.post(f"{API}/drain", json={"engine": "ollama"})
            disk.gate.clear()
            if refused:
                asked = http.post(f"{API}/leases", json={"model": "unheard-of"})
            else:
                asked = http.delete(f"{API}/leases/{lease}")
            answered = asyncio.create_task(asked)
            await asyncio.to_thread(disk.waited.wait, 5)
            await http.get(f"{API}/leases")  # others are answered meanwhile
            assert not answered.done()
            disk.gate.set()
            assert (await answered).status_code == (409 if refused else 200)
            assert query(tmp_path / "journal.db", KEPT) == ([(lease,)] if refused else [])

    asyncio.run(story())
