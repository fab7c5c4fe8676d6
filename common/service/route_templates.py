"""The routes of an app as metrics name them: by the declared path, `/jobs/{job_id}`, never by what a client typed."""

import re
from collections.abc import Iterator, Sequence
from typing import cast

from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import BaseRoute, Mount, compile_path
from starlette.types import Scope

from common.service.root_path import local_path

UNMATCHED = "unmatched"
"""The route of each path that is not declared: else every mistyped path would become a time series."""


class RouteTemplates:
    """Looks up the declared path of a request that was routed."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes: dict[int, list[RouteContext]] = {}
        for route in iter_route_contexts(routes):
            self._routes.setdefault(id(route.original_route), []).append(route)
        self._paths = {route: str(found[0].path) for route, found in self._routes.items() if len(found) == 1}
        self._heads = list(_paths_with_head(routes))

    def of(self, scope: Scope) -> str:
        """The path as declared, with the prefixes of its routers."""
        route = scope.get("route")
        if route is None:
            return UNMATCHED
        return self._paths.get(id(route)) or self._of_several(scope, route)

    def as_get(self, scope: Scope) -> Scope:
        """A HEAD request as the GET that answers it, unless HEAD itself is declared; the server sends no body."""
        path = local_path(scope)
        return scope if any(head.match(path) for head in self._heads) else {**scope, "method": "GET"}

    def _of_several(self, scope: Scope, route: BaseRoute) -> str:
        """A route whose router is included twice has two paths; a route of a mounted app has none here."""
        path = local_path(scope)
        found = self._routes.get(id(route), [])
        declared = next((one for one in found if one.path_regex.match(path)), None)
        return str(declared.path) if declared else cast(str, getattr(route, "path", UNMATCHED))


def _paths_with_head(routes: Sequence[BaseRoute], prefix: str = "") -> Iterator[re.Pattern[str]]:
    """The paths for which HEAD itself is declared, in mounted apps too."""
    for route in iter_route_contexts(routes):
        original, path = route.original_route, f"{prefix}{route.path}"
        if isinstance(original, Mount):
            yield from _paths_with_head(original.routes, path)
        elif isinstance(original, APIRoute) and "HEAD" in (route.methods or ()):
            yield compile_path(path)[0]
