"""A model that the daemon starts itself: `child.py PORT ENGINE/MODEL FOLDER JOURNAL`, by the
standard library alone. It streams three words to whoever asks.

What is in FOLDER when it begins, or while it works, says how: `slow` (it does not listen while that
is there), `deaf` (it does not hear of its end), `greedy` (bytes that it takes before it listens),
`pace` (seconds between two words). `book` has a line for each that has begun, and one for each
time that it was told to end, with what stood in the journal about it by then: see `book.py`.
"""

import json
import os
import signal
import socket
import sqlite3
import sys
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))
from tests.faults.written import rows, unfinished

port, ref, folder, journal = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])
WORDS = ("a", "small", "space")
KEPT = ("id", "at", "mode", "trigger")  # of a decision
at_work: set[socket.socket] = set()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        at_work.add(self.connection)
        try:
            self.answer()
        finally:
            at_work.discard(self.connection)

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in WORDS:
            self.piece(f'data: {{"choices": [{{"delta": {{"content": "{word}"}}}}]}}\n\n')
            threading.Event().wait(pace())
        at_work.discard(self.connection)  # before anybody can have heard that it is over
        self.piece("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def piece(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


def pace() -> float:
    try:
        return float((folder / "pace").read_text())
    except (OSError, ValueError):
        return 0.01


def is_there(client: socket.socket) -> bool:
    """Who has hung up waits for nothing."""
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def decided(action: str) -> list[dict[str, Any]] | None:
    """What is on disk about it, by what a judge needs of each. None: it cannot be read."""
    try:
        found = unfinished(partial(rows, journal), action, ref)
    except sqlite3.Error:
        return None
    return [{k: d.get(k) for k in KEPT} | ({"rooms": []} if "rooms" in d else {}) for d in found]


def note(what: str, **more: object) -> None:
    """In one go, and between ends of lines: others write there too, and who is killed may have
    written a part."""
    row = {"what": what, "at": time.monotonic(), "pid": os.getpid(), "ref": ref, **more}
    file = os.open(folder / "book", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"\n{json.dumps(row)}\n".encode())
    os.close(file)


def told_to_end(*_: object) -> None:
    try:
        busy = sum(map(is_there, list(at_work)))
        note("told", busy=busy, decisions=decided("evict"))
    finally:
        if not deaf:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)


# When the daemon began with it, in ticks since the boot, and by the clock of `at`.
started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
slept = time.clock_gettime(time.CLOCK_BOOTTIME) - time.monotonic()
forked = started / os.sysconf("SC_CLK_TCK") - slept
deaf = (folder / "deaf").exists()
note("begun", started=started, forked=forked, decisions=decided("load"))
signal.signal(signal.SIGTERM, told_to_end)
if (folder / "greedy").exists():
    # As it stands beside a daemon that has OOMScoreAdjust=-500; to go down takes rights.
    Path("/proc/self/oom_score_adj").write_text("500")
    taken = b"x" * int((folder / "greedy").read_text())
while (folder / "slow").exists():
    threading.Event().wait(0.01)
ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()
