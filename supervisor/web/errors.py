"""Errors as problems, by type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from supervisor.door import DoorError

from .problems import of_door, problem
from .requests import BadBody, BadQuery


def _of_door(request: Request, error: Exception) -> Response:
    assert isinstance(error, DoorError)
    return of_door(error)


def _of_body(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadBody)
    count = len(error.mistakes)
    text = f"the body has {count} mistakes" if count > 1 else "the body has a mistake"
    return problem(422, text, errors=error.mistakes)


def _of_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadQuery)
    return problem(422, str(error), errors=error.mistakes)


def _of_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    where = request.url.path
    detail = {
        404: f"there is nothing at {where}; /api/v1/openapi.json says what there is",
        405: f"{request.method} is not for {where}",
    }.get(error.status_code, error.detail)
    return problem(error.status_code, detail, headers=dict(error.headers or {}))


ERRORS: dict[Any, Callable[[Request, Exception], Response]] = {
    DoorError: _of_door,
    BadBody: _of_body,
    BadQuery: _of_query,
    HTTPException: _of_http,
}
