"""The page's files as they are served: to anybody, by fixed names, and with a policy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest

from supervisor.web import shell
from tests.web.fakes import World, client, site

TOKEN = "a-token-of-some-length"
STRANGER = ("192.0.2.7", 5)


def get(path: str, **headers: str) -> httpx.Response:
    """Without the token that this daemon wants."""

    async def run() -> httpx.Response:
        async with client(site(World(), token=TOKEN), peer=STRANGER) as http:
            return await http.get(path, headers=headers)

    return asyncio.run(run())


NAMES = sorted(set(shell.read()) - {shell.INDEX})


def kept(reply: httpx.Response) -> Iterator[tuple[str, str]]:
    """A browser takes these anew from the answer that nothing has changed."""
    for name in ("etag", "cache-control", "content-type", "content-security-policy"):
        yield name, reply.headers[name]


def test_the_page_needs_no_token_and_is_asked_about_each_time():
    async def run() -> None:
        async with client(site(World(), token=TOKEN), peer=STRANGER) as http:
            for path in ("/", *(f"/assets/{name}" for name in NAMES)):
                reply = await http.get(path)
                assert reply.status_code == 200, path
                suffix = ".html" if path == "/" else "." + path.rpartition(".")[2]
                assert reply.headers["content-type"] == shell.KINDS[suffix]
                assert reply.headers["cache-control"] == "no-cache"
                assert reply.headers["x-content-type-options"] == "nosniff"
                tag = reply.headers["etag"]
                again = await http.get(path, headers={"if-none-match": f'"another", W/{tag}'})
                assert (again.status_code, again.content) == (304, b"")
                assert again.headers.items() >= dict(kept(reply)).items()
                other = await http.get(path, headers={"if-none-match": '"another"'})
                assert other.content == reply.content

    asyncio.run(run())


def test_the_pages_policy_lets_nothing_in_from_elsewhere():
    reply = get("/")
    policy = dict(part.strip().split(" ", 1) for part in shell.POLICY.split(";"))
    assert reply.headers["content-security-policy"] == shell.POLICY
    assert policy.pop("default-src") == "'none'"
    assert policy.pop("img-src") == "'self' data:"
    assert {policy.pop(f"{kind}-src") for kind in ("script", "style", "connect")} == {"'self'"}
    assert set(policy) == {"base-uri", "form-action", "frame-ancestors"}
    assert set(policy.values()) == {"'none'"}
    assert get("/healthz").headers["content-security-policy"].startswith("default-src 'none';")
    assert "script-src" not in get("/assets/main.js").headers["content-security-policy"]


def test_the_shell_says_nothing_of_the_machine():
    for path in ("/", "/assets/main.js"):
        text = get(path).text
        assert "1.2.3" not in text, "the version is told by the API"
        assert "qwen3" not in text


@pytest.mark.parametrize(
    "path",
    [
        "/assets/",
        "/assets/index.html",
        "/assets/nothing.js",
        "/assets/..%2fpage.py",
        "/assets/%2e%2e/page.py",
        "/assets/..%5cpage.py",
        "/assets/main.js%00",
        "/assets//etc/passwd",
        "/assets/../api/v1/state",
        "/assets/..%2f..%2fapi/v1/state",
    ],
)
def test_no_other_name_is_a_file(path):
    assert get(path).status_code in (401, 404)


@pytest.mark.parametrize("path", ["/plain", "/api/v1/state", "/assets/x/../../metrics", "/index"])
def test_everything_else_needs_the_token(path):
    assert get(path).status_code == 401


def test_every_file_that_is_named_is_there_and_nothing_is_left_over():
    """In the shell, by an import, or by the chart when it fetches its library."""
    found = {name: asset.body.decode() for name, asset in shell.read().items()}
    own = {n: text for n, text in found.items() if n != "uplot.js"}
    named = {m for text in own.values() for m in re.findall(r'"(?:\./|assets/)([\w.]+)"', text)}
    assert named == set(NAMES)
    modules = {n for n in own if n.endswith(".js")} - {"theme.js", "main.js"}
    assert set(re.findall(r'modulepreload" href="assets/([\w.]+)"', found["index.html"])) == modules


def test_what_others_wrote_is_named_with_its_licence():
    found = shell.read()
    licences = found["LICENSES.txt"].body.decode()
    version = re.search(r"uPlot \(v([\d.]+)\)", found["uplot.js"].body[:200].decode())
    assert version is not None
    assert f"uPlot {version[1]}" in licences
    assert "The MIT License" in licences


def test_nothing_is_made_of_markup():
    """Names come from strangers: elements are built, and their text is text."""
    for name, asset in shell.read().items():
        if name.endswith(".js") and name != "uplot.js":
            words = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function"
            assert not re.search(words, asset.body.decode()), name


def test_no_file_of_the_page_outgrows_a_sitting():
    for name, asset in shell.read().items():
        assert len(asset.body.splitlines()) <= 400, name
