"""Does what it is told, line by line, and tells what it saw: see tests/clients/program.py."""

import json
import os
import sys
import threading


def serve(actions):
    """`actions` by name; each is called with what comes along, in a thread of its own."""
    speaking = threading.Lock()

    def work(told):
        try:
            seen = actions[told["do"]](**told["how"])
        except Exception as error:
            seen = wrong(error)
        with speaking:
            print(json.dumps({"id": told["id"], "seen": seen}), flush=True)

    for line in sys.stdin:
        threading.Thread(target=work, args=(json.loads(line),), daemon=True).start()
    os._exit(0)  # taking a large library apart takes a second


def wrong(error):
    """An error as the library raises it."""
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    return {
        "error": type(error).__name__,
        "also": [kind.__name__ for kind in type(error).__mro__[1:-1]],
        "status": getattr(error, "status_code", None),
        "code": getattr(error, "code", None),
        "retry_after": headers.get("retry-after"),
        "message": str(error),
        "body": getattr(error, "body", None),
    }


def ours(headers):
    return {name: value for name, value in headers.items() if name.startswith("x-ullage-")}
