"""How endpoints describe themselves in the OpenAPI document where FastAPI cannot know it: problems, binary bodies.

They are values for FastAPI's own parameters `responses=` and `openapi_extra=`. Schemas are written from the pydantic
models that check the bodies; `move_definitions` moves what these refer to where OpenAPI wants it.
"""

from http import HTTPStatus
from typing import Any

from fastapi import Response
from pydantic import BaseModel, TypeAdapter

from common.service.problems import MEDIA_TYPE

Responses = dict[int | str, dict[str, Any]]

REFERENCE = "#/components/schemas/{model}"
BINARY = {"schema": {"type": "string", "format": "binary"}}
TEXT = {"schema": {"type": "string"}}
PROBLEM_SCHEMA = {
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
    content = {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def json_errors(model: Any, *statuses: int) -> Responses:
    """Errors with these statuses whose JSON is of this type, for `responses=`."""
    return {status: {"description": HTTPStatus(status).phrase, "model": model} for status in statuses}


def request_body(model: Any, *binary: str, json: str = "application/json") -> dict[str, Any]:
    """A body that the handler reads itself: JSON of this type, or bytes of these media types; for `openapi_extra=`."""
    schema = TypeAdapter(model).json_schema(ref_template=REFERENCE)
    content: dict[str, Any] = {json: {"schema": schema}, **dict.fromkeys(binary, BINARY)}
    return {"requestBody": {"required": True, "content": content}}


def move_definitions(document: dict[str, Any]) -> None:
    """Move the definitions of request bodies to the document's components, and add the problem's schema."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = PROBLEM_SCHEMA
    for path in document["paths"].values():
        for operation in path.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                schemas.update(content.get("schema", {}).pop("$defs", {}))
