"""Programs of our own to be started: real ones, which do as a file of theirs says."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from supervisor.children import kin
from supervisor.children.logs import Log
from supervisor.children.records import Records
from supervisor.config.served import Launching
from supervisor.engines.launched import Told

PROGRAM = """\
#!{python} -IS
import os, signal, socket, sys
folder, model, port = {folder!r}, *sys.argv[1:]
try:
    how = open(f"{{folder}}/{{model}}.how").read()
    os.unlink(f"{{folder}}/{{model}}.how")
except FileNotFoundError:
    how = ""
def born():
    with open(f"{{folder}}/{{model}}.pids", "a") as file:
        file.write(f"{{os.getpid()}}\\n")
born()
if how == "fails":
    sys.exit("cannot read the weights")
if how == "lies" and os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    born()
    while True:
        signal.pause()
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", int(port)))
s.listen()
while True:
    signal.pause()
"""


class StandIn:
    """`async with StandIn(["m1"]) as s`: an engine with one program for each model."""

    def __init__(self, models=("alpha", "beta")):
        self.models = tuple(models)

    async def __aenter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="ullage-"))
        self.program = self.folder / "server"
        self.program.write_text(PROGRAM.format(python=sys.executable, folder=str(self.folder)))
        self.program.chmod(0o755)
        self.options = self.told(served={m: {} for m in self.models})
        return self

    async def __aexit__(self, *_):
        for pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder)

    # -- what the contract test asks of every stand-in

    def told(self, **table):
        usual = {"command": [str(self.program), "${MODEL}", "${PORT}"], "stop_timeout": "500ms"}
        return Told(Launching.model_validate(usual | table), _nobody, self.folder / "own")

    def running(self, model):
        return bool(set(self._pids(model)) & kin.table().keys())

    def crash(self, model):
        """Its process ends by itself."""
        os.kill(self._pids(model)[-1], signal.SIGKILL)

    def deny(self):
        """We have not the right to run it."""
        self.program.chmod(0o644)

    def fail_next_start(self, model):
        (self.folder / f"{model}.how").write_text("fails")

    def lie(self, model):
        """It says that it has stopped, and what it had started runs on."""
        (self.folder / f"{model}.how").write_text("lies")

    def write(self, model, *lines):
        log = Log(Records(self.options.folder).log_file(model))
        fd = log.open()
        os.write(fd, "".join(f"{line}\n" for line in lines).encode())
        os.close(fd)

    # -- its own

    def _pids(self, model="*"):
        texts = [file.read_text() for file in self.folder.glob(f"{model}.pids")]
        return [int(pid) for text in texts for pid in text.split()]


def _nobody(kind, id, url):
    raise AssertionError("nobody inside is spoken to")


standin = StandIn
