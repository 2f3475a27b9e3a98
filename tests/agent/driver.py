"""A stand-in for Ray's driver: speaks its lines, and does what FOLDER/how.json says. Each start is
counted in FOLDER/starts."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

folder = Path(sys.argv[1])
with (folder / "starts").open("a") as file:
    file.write("x")
how = json.loads((folder / "how.json").read_text())
sys.stdin.readline()
if how.get("silent"):
    sys.stdin.read()
if how.get("crashes"):
    print("Traceback: no such node", file=sys.stderr)
    sys.exit(3)
if "error" in how:
    print(json.dumps({"error": how["error"]}), flush=True)
    sys.exit(1)
print("this is no line of ours", file=sys.stderr)
print(json.dumps({"joined": {"trouble": how.get("trouble", [])}}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    now = json.loads((folder / "how.json").read_text())
    if asked["do"] in now.get("dies", ()):
        os.kill(os.getpid(), 9)
    if asked["do"] in now.get("hangs", ()):
        continue
    answer = {"id": asked["id"], "answer": now.get("answers", {}).get(asked["do"])}
    if asked["do"] in now.get("errors", {}):
        answer = {"id": asked["id"], "error": now["errors"][asked["do"]]}
    print(json.dumps(answer), flush=True)
