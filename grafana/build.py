"""Writes the dashboards, one JSON file each, from the data of the modules of the same names.

`python -m grafana.build` writes them; with `--check` it changes nothing and ends with 1 if a
file is not what this makes.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .classic import dashboard
from .fleet import BOARD as FLEET
from .gateway import BOARD as GATEWAY
from .hardware import BOARD as HARDWARE
from .host import BOARD as HOST
from .models import BOARD as MODELS
from .overview import BOARD as OVERVIEW
from .panels import Board

FOLDER = Path(__file__).parent
BOARDS = (OVERVIEW, HOST, MODELS, GATEWAY, HARDWARE, FLEET)


def written(board: Board) -> str:
    return json.dumps(dashboard(board), indent=2) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m grafana.build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="say whether they are up to date")
    check = parser.parse_args(arguments).check
    wrong = 0
    for board in BOARDS:
        file = FOLDER / f"{board.name}.json"
        if file.exists() and file.read_text() == written(board):
            continue
        if check:
            print(f"{file.name} is not what {board.name}.py makes; write it with `make docs`")
            wrong = 1
        else:
            file.write_text(written(board))
    return wrong


if __name__ == "__main__":
    sys.exit(main())
