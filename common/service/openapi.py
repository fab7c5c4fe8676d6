"""The OpenAPI entries of endpoints that FastAPI does not see, written from the same pydantic models that check them."""

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, TypeAdapter

from common.service.problems import MEDIA_TYPE
from common.service.request_context import EndpointRoute

REFERENCE = "#/components/schemas/{model}"
TEXT = {"schema": {"type": "string"}}
BINARY = {"schema": {"type": "string", "format": "binary"}}
PROBLEM = {
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True)
class Operation:
    """What an endpoint takes and gives: JSON of a type, bodies of media types, problems of statuses.

    `query` is a pydantic model of its parameters; `headers` says what those that it heeds are for. `error`
    is the type of a problem's JSON, where it is no problem document.
    """

    summary: str
    response: Any
    query: type[BaseModel] | None = None
    headers: tuple[tuple[str, str], ...] = ()
    json_body: Any = None
    binary_bodies: tuple[str, ...] = ()
    binary_responses: tuple[str, ...] = ()
    text_responses: tuple[str, ...] = ()
    status: int = 200
    problems: tuple[int, ...] = ()
    description: str = ""
    error: Any = None


def with_operations(document: dict[str, Any], operations: Iterable[tuple[EndpointRoute, Operation]]) -> dict[str, Any]:
    """Add the operations to an OpenAPI document, in place."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = PROBLEM
    for route, operation in operations:
        document["paths"].setdefault(route.path, {})[route.method.lower()] = _entry(operation, schemas)
    return document


def _entry(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    problem: dict[str, Any] = {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}}
    if operation.error is not None:
        problem = {"application/json": _content(operation.error, "serialization", schemas)}
    content: dict[str, Any] = dict.fromkeys(operation.binary_bodies, BINARY)
    if operation.json_body is not None:
        content["application/json"] = _content(operation.json_body, "validation", schemas)
    return {
        "summary": operation.summary,
        "description": operation.description,
        "parameters": _parameters(operation, schemas),
        **({"requestBody": {"required": True, "content": content}} if content else {}),
        "responses": {
            str(operation.status): {
                "description": HTTPStatus(operation.status).phrase,
                "content": {
                    "application/json": _content(operation.response, "serialization", schemas),
                    **dict.fromkeys(operation.binary_responses, BINARY),
                    **dict.fromkeys(operation.text_responses, TEXT),
                },
            },
            **{str(status): {"description": "see detail", "content": problem} for status in operation.problems},
        },
    }


def _parameters(operation: Operation, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    query = _content(operation.query, "validation", schemas)["schema"] if operation.query else {}
    return [
        *[{"name": name, "in": "query", "schema": schema} for name, schema in query.get("properties", {}).items()],
        *[
            {"name": name, "in": "header", "description": text, "schema": {"type": "string"}}
            for name, text in operation.headers
        ],
    ]


def _content(model: Any, mode: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = TypeAdapter(model).json_schema(ref_template=REFERENCE, mode=mode)
    schemas.update(schema.pop("$defs", {}))
    return {"schema": schema}
