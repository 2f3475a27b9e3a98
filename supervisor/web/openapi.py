"""The description of the API for programs, as OpenAPI 3.1 has it: made of the table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode

from supervisor.config.entrusted import FREE, GATEWAY, SCOPES

from . import answers
from .bodies import Wish
from .operations import Operation

Json = dict[str, Any]

REF = "#/components/schemas/{model}"
PROBLEM = "application/problem+json"
# What the guard, and the checks of queries, may answer to anybody.
ALWAYS = (400, 401, 403, 421, 422, 429, 500, 503)
WITH_BODY = (408, 413, 415)

ABOUT = """\
Sizes are whole bytes, spans seconds, times Unix time; what could not be read is null, never 0.
Unknown keys are refused, in the query and in bodies. Errors are problems (RFC 9457) that say what
would be right. A body is `application/json`, and at most 1 MiB. Each operation needs a scope, which
its `security` names; as long as no token is configured, this machine may do all but `alerts:force`.
"""

MEANINGS = {
    201: "opened",
    202: "accepted: it goes on",
    400: "a request that only reads has no body",
    401: "the token is missing, or another one",
    403: "the token has not the scope, which is told; or another site's page, or another machine"
    " without a token, may change nothing",
    404: "nothing is called that",
    408: "the body did not come in time",
    409: "it cannot be done as things are",
    410: "its time is over",
    413: "the body is too large",
    415: "the body is not JSON",
    421: "the daemon is not called by that name",
    422: "the query or the body has mistakes; each of them is told",
    429: "too many wrong tokens came from that address; Retry-After says when to ask again",
    500: "an internal error; the log has it",
    503: "not now: the first sample is not in, or the daemon is stopping",
}


class _Plain(GenerateJsonSchema):
    """A property's title would only be its name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def document(operations: Sequence[Operation], version: str) -> Json:
    """The whole description, as plain JSON."""
    schemas, components = _schemas(operations)
    paths: dict[str, Json] = {}
    for operation in operations:
        path = operation.path.replace(":path", "")
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Ullage",
            "version": version,
            "summary": "Keeps headroom in the memory of this machine, across inference engines",
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": {f"Problem{status}": _problem(status) for status in _statuses(operations)},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": _scopes(),
                }
            },
        },
    }


def _scopes() -> str:
    meanings = (f"`{scope}`: {meaning}" for scope, meaning in SCOPES.items() if scope != GATEWAY)
    return "\n".join(("listen.token, or one of listen.tokens with the scope:", *meanings))


Key = tuple[str, Any]


def _schemas(operations: Iterable[Operation]) -> tuple[Mapping[Key, Json], Json]:
    """Of every model a schema that refers to the components, and these. A query is told parameter
    by parameter."""
    models: dict[Key, tuple[Key, JsonSchemaMode, TypeAdapter[Any]]] = {}
    wanted: list[Any] = [answers.Problem, answers.Begun]
    for operation in operations:
        wanted += [model for model in (operation.body, operation.answer) if model]
    for model in wanted:
        if not isinstance(model, str):
            key = _key(model)
            models[key] = (key, "validation", TypeAdapter(model))
    found, whole = TypeAdapter.json_schemas(
        list(models.values()), ref_template=REF, schema_generator=_Plain
    )
    schemas = {key: schema for (key, _), schema in found.items()}
    return schemas, whole.get("$defs", {})


def _key(model: Any) -> Key:
    return getattr(model, "__module__", ""), getattr(model, "__qualname__", model)


def _operation(operation: Operation, schemas: Mapping[Key, Json]) -> Json:
    found: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [_tag(operation.path)],
        "parameters": [*_in_path(operation), *_in_query(operation)],
        "responses": _responses(operation, schemas),
    }
    # The scope is a role's name, which is not sent; {}: where no token is configured.
    free = operation.scope == FREE
    found["security"] = [] if free else [{"token": [operation.scope]}, {}]
    if operation.body is not None:
        schema = schemas[_key(operation.body)]
        content = {"application/json": {"schema": schema}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _tag(path: str) -> str:
    parts = path.strip("/").split("/")
    return parts[2] if parts[0] == "api" and len(parts) > 2 else "daemon"


def _in_path(operation: Operation) -> list[Json]:
    names = re.findall(r"\{(\w+)(?::\w+)?\}", operation.path)
    schema = {"type": "string", "minLength": 1}
    return [{"name": n, "in": "path", "required": True, "schema": schema} for n in names]


def _in_query(operation: Operation) -> list[Json]:
    whole = TypeAdapter(operation.query).json_schema(schema_generator=_Plain)
    found = []
    for name, said in whole.get("properties", {}).items():
        schema = dict(said)
        about = schema.pop("description", None)
        options = [o for o in schema.pop("anyOf", ()) if o != {"type": "null"}]
        schema |= options[0] if len(options) == 1 else {"anyOf": options} if options else {}
        if schema.get("default", 0) is None:
            del schema["default"]
        row: Json = {"name": name, "in": "query", "schema": schema}
        row |= {"required": True} if name in whole.get("required", ()) else {}
        row |= {"description": about} if about else {}
        if schema.get("type") == "array":  # with commas between
            row |= {"style": "form", "explode": False}
        found.append(row)
    return found


def _responses(operation: Operation, schemas: Mapping[Key, Json]) -> Json:
    found: Json = {str(status): _good(operation, status, schemas) for status in operation.statuses}
    if operation.body is not None and issubclass(operation.body, Wish):
        begun = schemas[_key(answers.Begun)]
        if "202" in found:
            begun = {"anyOf": [schemas[_key(operation.answer)], begun]}
        where = {"description": "where to look, if it was to be in the background"}
        found["202"] = {
            "description": MEANINGS[202],
            "headers": {"Location": where | {"schema": {"type": "string"}}},
            "content": {"application/json": {"schema": begun}},
        }
    for status in _problems(operation):
        found[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    return dict(sorted(found.items()))


def _good(operation: Operation, status: int, schemas: Mapping[Key, Json]) -> Json:
    if isinstance(operation.answer, str):
        content: Json = {operation.answer: {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": schemas[_key(operation.answer)]}}
    content |= {kind: {"schema": {"type": "string"}} for kind in operation.also}
    return {"description": MEANINGS.get(status, operation.summary), "content": content}


def _problems(operation: Operation) -> list[int]:
    besides = WITH_BODY if operation.method != "GET" else ()
    return sorted({*ALWAYS, *besides, *operation.problems})


def _statuses(operations: Iterable[Operation]) -> list[int]:
    return sorted({status for operation in operations for status in _problems(operation)})


def _problem(status: int) -> Json:
    about = MEANINGS.get(status, HTTPStatus(status).phrase)
    schema = {"$ref": REF.format(model=answers.Problem.__name__)}
    return {"description": about, "content": {PROBLEM: {"schema": schema}}}
