"""What a caller gets instead of an answer: one exception, rendered as RFC 9457 `application/problem+json`.

Anything below an endpoint may raise `Problem`; the service turns it into the response. The detail tells the
caller what to send instead: field, what was expected, what came, an example.
"""

from http import HTTPStatus

from pydantic_core import to_json
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """A request that cannot be answered, and why.

    `extensions` become further members of the problem document (RFC 9457, section 3.2); `headers` go onto the
    response (`Retry-After`, `Allow`). It is an `HTTPException`, so that FastAPI's own endpoints may raise it too.
    """

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, **extensions: object) -> None:
        super().__init__(status, detail, headers)
        self.extensions = extensions

    def document(self) -> bytes:
        """The problem as UTF-8 JSON; its type is `about:blank`, since the status says what kind of problem it is."""
        title = HTTPStatus(self.status_code).phrase
        common = {"type": "about:blank", "title": title, "status": self.status_code, "detail": self.detail}
        return to_json(common | self.extensions)


class ClientLeft(Exception):
    """The caller closed the connection before its answer was there: nobody is left to be answered."""
