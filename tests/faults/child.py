"""A model that the daemon starts itself: `child.py PORT MODEL FOLDER`, by the standard library
alone. It streams three words to whoever asks.

What is in FOLDER when it begins, or while it works, says how: `slow` (it does not listen while that
is there), `deaf` (it does not hear of its end), `greedy` (bytes that it takes before it listens),
`pace` (seconds between two words). `book` has a line for each that began.
"""

import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

port, model, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
WORDS = ("a", "small", "space")


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in WORDS:
            self.piece(f'data: {{"choices": [{{"delta": {{"content": "{word}"}}}}]}}\n\n')
            threading.Event().wait(pace())
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


with (folder / "book").open("a") as book:
    book.write(f"{os.getpid()} {model}\n")
if (folder / "deaf").exists():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if (folder / "greedy").exists():
    # As it stands beside a daemon that has OOMScoreAdjust=-500; to go down takes rights.
    Path("/proc/self/oom_score_adj").write_text("500")
    taken = b"x" * int((folder / "greedy").read_text())
while (folder / "slow").exists():
    threading.Event().wait(0.01)
ThreadingHTTPServer(("127.0.0.1", port), Answers).serve_forever()
