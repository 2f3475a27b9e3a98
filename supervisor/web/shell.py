"""The page for people: a shell and its files, read once. They say nothing of the machine, so they
need no token; the page asks the API for the rest, and that does."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from pathlib import PurePath
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .problems import problem
from .site import Site

INDEX = "index.html"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Asset(NamedTuple):
    kind: str
    tag: str
    body: bytes


def read() -> dict[str, Asset]:
    """Every file of the page by its name. Names that are asked for never become paths."""
    found = {}
    for file in files(__package__).joinpath("assets").iterdir():
        if (kind := KINDS.get(PurePath(file.name).suffix)) is not None:
            body = file.read_bytes()
            found[file.name] = Asset(kind, f'"{hashlib.sha256(body).hexdigest()[:16]}"', body)
    return found


def routes(site: Site) -> list[Route]:
    shell = Shell()
    return [Route("/", shell.index), Route("/assets/{name}", shell.asset)]


class Shell:
    def __init__(self) -> None:
        self._assets = read()

    async def index(self, request: Request) -> Response:
        return self._answer(request, self._assets[INDEX])

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = self._assets.get(name)
        if found is None or name == INDEX:
            return problem(404, "the page has no such file")
        return self._answer(request, found)

    def _answer(self, request: Request, asset: Asset) -> Response:
        """Kept by the browser, and asked about each time: a new version shows at once.

        What is said of a file that has not changed counts for the one that was kept, too."""
        headers = {"cache-control": "no-cache", "etag": asset.tag, "content-type": asset.kind}
        if asset.kind == KINDS[".html"]:
            headers["content-security-policy"] = POLICY
        given = request.headers.get("if-none-match", "")
        if asset.tag in (tag.strip().removeprefix("W/") for tag in given.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(asset.body, headers=headers)
