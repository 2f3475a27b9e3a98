"""Write what is expected of every capture anew: `python -m tests.collectors.regold [NAME ...]`.

Then look at the difference (`git diff tests/captures`): that is the review of what a change does
to the machines that people have.
"""

import contextlib
import io
import sys
from pathlib import Path

from collectors.__main__ import main

CAPTURES = Path(__file__).parents[1] / "captures"
EXPECTED = {"expected.txt": (), "expected.json": ("--json",)}


def captures() -> list[Path]:
    """Every machine there is a capture of, by name."""
    return sorted(path for path in CAPTURES.iterdir() if path.is_dir())


def output(capture: Path, *options: str) -> str:
    """What the command prints of it."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["--root", str(capture), *options])
    return printed.getvalue()


if __name__ == "__main__":
    for capture in captures():
        if not sys.argv[1:] or capture.name in sys.argv[1:]:
            for name, options in EXPECTED.items():
                (capture / name).write_text(output(capture, *options))
