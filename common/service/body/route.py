"""A route class for handlers whose body is a parameter, such as a pydantic model: it is read as `read_body` does.

`APIRouter(route_class=BodyRoute)`: the body is inflated, and limited in size and time. Raises what `read_body` raises.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import Message

from common.service.body.reading import read_body

BODY_STATUSES = (400, 408, 413, 415, 422)
"""What a body can be refused with, for `responses=`."""


class BodyRoute(APIRoute):
    """An `APIRoute` with the limits of MAX_BODY_BYTES and of the request's deadline."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own handler, for a request whose body is here already."""
        handle = super().get_route_handler()

        async def handle_with_body(request: Request) -> Response:
            bodies = [await read_body(request)]

            async def receive() -> Message:
                return {"type": "http.request", "body": bodies.pop()} if bodies else await request.receive()

            return await handle(Request(request.scope, receive))

        return handle_with_body
