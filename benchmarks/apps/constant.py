"""The floor: a bare ASGI application that reads the body and always gives the same answer, as long as a real one.

What is left is uvicorn, its event loop and the socket: behind uvicorn, nothing in Python can be quicker.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWER = (
    b'{"digit":7,"confidence":0.998713,"probabilities":[2e-6,1.1e-5,0.000154,0.000307,1.9e-5,3e-6,0.0,0.998713,'
    b'0.000481,0.00031],"model":{"name":"mlp","version":"3f5a9c0b7e21"}}'
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
START: Message = {"type": "http.response.start", "status": 200, "headers": HEADERS}
END: Message = {"type": "http.response.body", "body": ANSWER}


def create_app() -> ASGIApp:
    """The application, as a factory like the others."""
    return answer


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, then answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(END)
