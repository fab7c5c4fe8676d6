"""What is wrong with a parameter or a body, in one sentence: field, what was expected, what was sent, an example.

pydantic finds it; which parameters exist, and the examples, stand in the OpenAPI document.
"""

from typing import Any

from fastapi import Request
from fastapi.routing import iter_route_contexts
from pydantic_core import to_json
from starlette.routing import compile_path

from common.service.root_path import local_path

MAX_SHOWN = 80
"""Characters of a wrong value that an error repeats."""


def describe_error(request: Request, found: Any) -> str:
    """One of `RequestValidationError.errors()`: where, what is wrong, what was sent, and what would be right.

    FastAPI's own are complete. A user may raise the exception with errors of any form.
    """
    if not isinstance(found, dict) or "msg" not in found:
        return str(found)
    source, *path = found.get("loc") or ("",)
    kind = found.get("type")
    if kind == "json_invalid" and path and "ctx" in found:
        return f"body: not JSON ({found['ctx']['error']}, at character {path[0]})"
    name = ".".join(str(part) for part in path)
    where = name.title() if source == "header" else f"{source} {name}".rstrip()
    text = f"{where}: {found['msg']}".removeprefix(": ").replace("Value error, ", "", 1)
    if kind == "value_error" and not path:
        return text  # a check of the whole body, which says itself what it got
    if "input" in found and not (kind == "missing" and found["input"] is None):
        text += f", got {shorten(found['input'])}"
    operation = _operation(request)
    parameters = [parameter for parameter in operation.get("parameters", []) if parameter["in"] == source]
    if kind == "extra_forbidden" and parameters:
        return f"{text}; expected one of {', '.join(parameter['name'] for parameter in parameters)}"
    schemas = {parameter["name"]: parameter["schema"] for parameter in parameters}
    if source == "body":
        schemas = _body_schemas(request, operation)
    examples = schemas.get(name, {}).get("examples")
    return f"{text}; for example {to_json(examples[0]).decode()}" if examples else text


def shorten(value: object) -> str:
    """A wrong value in JSON, as the client wrote it; its first characters if it is long."""
    try:
        text = to_json(value, inf_nan_mode="constants", fallback=str).decode()
    except ValueError:  # bytes that are no UTF-8, half of a surrogate pair: JSON has no such thing
        text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _operation(request: Request) -> dict[str, Any]:
    """This request's endpoint, as the OpenAPI document describes it; empty if it does not."""
    here = local_path(request.scope)
    for route in iter_route_contexts(request.app.routes):
        pattern, path, _ = compile_path(str(route.path))
        if request.method in (route.methods or ()) and pattern.match(here):
            operation: dict[str, Any] = request.app.openapi()["paths"].get(path, {}).get(request.method.lower(), {})
            return operation
    return {}


def _body_schemas(request: Request, operation: dict[str, Any]) -> dict[str, Any]:
    """The schemas of the fields of a JSON body, by name."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    schema = content.get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    model = request.app.openapi().get("components", {}).get("schemas", {}).get(name, schema)
    schemas: dict[str, Any] = model.get("properties", {})
    return schemas
