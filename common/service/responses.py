"""How endpoints describe themselves in the OpenAPI document where FastAPI cannot know it: problems, binary bodies.

They are values for FastAPI's own parameters `responses=` and `openapi_extra=`. Schemas are written from the pydantic
models that check the bodies. They refer to nothing else: FastAPI collects only the models of bodies that it reads
itself, so in a document of your own (`app.openapi = …`, as FastAPI shows it) a reference would lead nowhere.
"""

from http import HTTPStatus
from typing import Any

from fastapi import Response
from pydantic import BaseModel, TypeAdapter

from common.service.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

BINARY = {"schema": {"type": "string", "format": "binary"}}
TEXT = {"schema": {"type": "string"}}
PROBLEM_SCHEMA = {
    "title": "Problem",
    "type": "object",
    "description": "RFC 9457",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What was expected, what was sent, an example."},
    },
}


class JSONBytes(Response):
    """An answer of JSON that is rendered already.

    It has what `Response.__init__` would set, without its steps, which take longer than a small model.
    """

    media_type = "application/json"

    def __init__(self, content: bytes) -> None:
        self.status_code, self.body, self.background = 200, content, None
        self.raw_headers = [(b"content-length", b"%d" % len(content)), (b"content-type", b"application/json")]


def json_response(model: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """The model as JSON."""
    return Response(model.model_dump_json(), status, headers, "application/json")


def problems(*statuses: int) -> Responses:
    """Problem documents with these statuses, for `responses=`."""
    content = {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def json_errors(model: Any, *statuses: int) -> Responses:
    """Errors with these statuses whose JSON is of this type, for `responses=`."""
    return {status: {"description": HTTPStatus(status).phrase, "model": model} for status in statuses}


def request_body(model: Any, *binary: str, json: str = "application/json") -> dict[str, Any]:
    """A body that the handler reads itself: JSON of this type, or bytes of these media types; for `openapi_extra=`."""
    schema = TypeAdapter(model).json_schema()
    definitions = schema.pop("$defs", {})
    content: dict[str, Any] = {json: {"schema": _resolve(schema, definitions)}, **dict.fromkeys(binary, BINARY)}
    return {"requestBody": {"required": True, "content": content}}


def _resolve(schema: Any, definitions: dict[str, Any]) -> Any:
    """The schema with what it refers to in its place; a model that contains itself may hold anything there."""
    if isinstance(schema, list):
        return [_resolve(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(reference := schema.get("$ref"), str):
        name = reference.rpartition("/")[2]
        others = {other: definition for other, definition in definitions.items() if other != name}
        return {**_resolve(definitions.get(name, {}), others), **{key: schema[key] for key in schema if key != "$ref"}}
    return {key: _resolve(value, definitions) for key, value in schema.items() if key != "discriminator"}
