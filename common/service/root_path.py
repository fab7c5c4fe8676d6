"""A service behind a proxy that serves it under a prefix: `uvicorn --root-path /digits`, or UVICORN_ROOT_PATH.

ASGI's `root_path` is that prefix, and `path` begins with it (https://asgi.readthedocs.io/en/latest/specs/www.html).
uvicorn puts it in front of every path, since it expects that the proxy took it away.
"""

from fastapi import Request
from starlette.types import Scope


def remove_second_prefix(scope: Scope) -> None:
    """A proxy may leave the prefix in the path; uvicorn then has put a second one in front, which goes."""
    root: str = scope.get("root_path", "")
    if root and scope["path"].startswith(f"{root}{root}/"):
        scope["path"] = scope["path"].removeprefix(root)
        scope["raw_path"] = scope["raw_path"].removeprefix(root.encode())


def local_path(scope: Scope) -> str:
    """The path as routes declare it, without the prefix."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


def location(request: Request, path: str) -> str:
    """A path of this service as its clients see it, for the header `Location`."""
    return f"{request.scope.get('root_path', '')}{path}"
