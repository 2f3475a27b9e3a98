"""Other users' processes and other network namespaces, as this kernel shows them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from collectors.listener import listener
from collectors.sock_diag import listeners

ENGINE, LOOKER = 61234, 61235  # users that nobody is
ADDRESS = "10.213.77.2"
MOUNTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))

# It joins its group, becomes another user, listens, and says where; until its input ends.
SERVER = """
import os, socket, sys
user, address, *groups = sys.argv[1:]
for group in groups:
    with open(group + "/cgroup.procs", "w") as file:
        file.write("0")
os.setgroups([]); os.setgid(int(user)); os.setuid(int(user))
server = socket.socket()
server.bind((address, 0))
server.listen()
print(server.getsockname()[1], flush=True)
sys.stdin.read()
"""
# What stands for docker-proxy: it joins its group, listens, and begins anew with its words.
PROXY = """
import os, socket, sys
group, address, port = sys.argv[1:4]
with open(group + "/cgroup.procs", "w") as file:
    file.write("0")
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
os.set_inheritable(server.fileno(), True)
published = server.getsockname()[1]
name = "import sys; open('/proc/self/comm', 'w').write('docker-proxy'); "
words = f"-proto tcp -host-ip 127.0.0.1 -host-port {published} -container-ip {address}".split()
words += ["-container-port", port]
then = name + f"print({published}, flush=True); sys.stdin.read()"
os.execv(sys.executable, [sys.executable, "-c", then, *words])
"""
LOOK = """
import os, sys
from collectors.listener import listener
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
print(listener(int(sys.argv[2])))
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root makes processes of other users"
)


@contextmanager
def made(name: str) -> Iterator[Path]:
    """A control group of this machine."""
    mount = next((m for m in MOUNTS if (m / "cgroup.procs").exists()), None)
    if mount is None:
        pytest.skip("there is no control group v2")
    try:
        (mount / name).mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        yield mount / name
    finally:
        (mount / name).rmdir()


@pytest.fixture
def container() -> Iterator[Path]:
    with made(f"docker-{os.getpid():064x}.scope") as folder:
        yield folder


@pytest.fixture
def service() -> Iterator[Path]:
    with made(f"ullage-test-{os.getpid()}.service") as folder:
        yield folder


@contextmanager
def running(*command: str, **more) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process, and the first line that it writes. It has ended afterwards."""
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **more,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        if not (line := process.stdout.readline()):
            pytest.skip(f"it cannot be made here: {process.stderr.read().strip()[-200:]}")
        yield process, line.strip()
    finally:
        process.kill()
        process.communicate()


def seen_by(user: int, port: int) -> int | None:
    """What `listener` finds as this user."""
    here = Path(__file__).parents[2]
    found = subprocess.run(
        [sys.executable, "-c", LOOK, str(user), str(port)],
        cwd=here, env={**os.environ, "PYTHONPATH": str(here)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return None if found.stdout.strip() == "None" else int(found.stdout)


def start(user: int, address: str, group: Path | None = None) -> tuple[str, ...]:
    groups = () if group is None else (str(group),)
    return (sys.executable, "-c", SERVER, str(user), address, *groups)


def needs_groups_of_sockets(port: int) -> None:
    if any(m.group is None for m in listeners(port)):
        pytest.skip("this kernel does not tell of sockets' control groups")


def test_another_users_server_is_found_by_its_control_group(service: Path) -> None:
    with running(*start(ENGINE, "127.0.0.1", service)) as (process, said):
        needs_groups_of_sockets(port := int(said))
        assert listener(port) == process.pid
        assert seen_by(LOOKER, port) == process.pid


def test_in_a_group_that_is_nobodys_own_no_other_users_server_is_guessed() -> None:
    with made(f"ullage-test-{os.getpid()}") as group, ExitStack() as stack:
        process, said = stack.enter_context(running(*start(ENGINE, "127.0.0.1", group)))
        needs_groups_of_sockets(port := int(said))
        assert seen_by(LOOKER, port) == process.pid, "it is alone there"
        stack.enter_context(running(*start(ENGINE, "127.0.0.1", group)))
        assert seen_by(LOOKER, port) is None
        assert listener(port) == process.pid


@pytest.mark.parametrize("user", [0, LOOKER])
def test_behind_a_published_port_the_containers_server_is_found(
    container: Path, service: Path, user: int
) -> None:
    """It is in another network namespace, and one of ours listens for it."""
    if not all(map(shutil.which, ("unshare", "ip"))):
        pytest.skip("needs unshare and ip")
    inside = f'ip addr add {ADDRESS}/32 dev lo && ip link set lo up && exec "$@"'
    server = start(ENGINE, "0.0.0.0", container)
    with ExitStack() as stack:
        apart = running("unshare", "-n", "sh", "-c", inside, "sh", *server)
        engine, port = stack.enter_context(apart)
        proxy = (sys.executable, "-c", PROXY, str(service), ADDRESS, port)
        _, published = stack.enter_context(running(*proxy))
        needs_groups_of_sockets(int(published))
        assert seen_by(user, int(published)) == engine.pid
