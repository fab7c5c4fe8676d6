"""The playground: one static page on which to draw, or fill in, what the service reads, and see the request travel.

It asks the same endpoint as every other client. It loads nothing from elsewhere, so it works without the internet.
"""

import asyncio
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from xml.etree import ElementTree

from fastapi import FastAPI, Request, Response
from pydantic_core import to_json

from common import domain
from common.playground.neighbours import is_running, local_neighbours, neighbour_origins, published_neighbours, tabs_of
from common.playground.start_choice import StartChoice
from common.service.problems import Problem

PAGE = Path(__file__).parent
SAMPLES = PAGE.parent / "samples"
README = "README.md"
DESCRIPTION = "{http://www.w3.org/2000/svg}desc"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".md": "text/plain; charset=utf-8",
}
"""Spelled out, since what Python's `mimetypes` answers depends on the machine."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; img-src 'self'"
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def add_playground(
    app: FastAPI, folder: Path, endpoint: str = "/predict", start_choices: Sequence[StartChoice] = (), store: str = ""
) -> None:
    """Serve the page at `/`, with the folder's `diagram.svg`; it sends what it is given to `endpoint`.

    Where the domain reads images, it is a pad to draw on, with samples to click; else a form, filled with the domain's
    example. The diagram's description is what the page says of the pattern. `start_choices` are settings of the whole
    pattern that are worth a comparison: no request can choose them, so the page shows the commands that start another.
    `store` is an endpoint that takes items of several inputs, in JSON: the samples of that kind are sent there, and the
    id that it answers to `endpoint`.

    Reads the files now, once: they are small, and a service that cannot read them must not start.
    """
    files = {path.name: path.read_bytes() for path in PAGE.iterdir() if path.suffix in MEDIA_TYPES}
    files["diagram.svg"] = (folder / "diagram.svg").read_bytes()
    paths = [*sorted(SAMPLES.glob("*.png")), *(sorted(SAMPLES.glob("*.json")) if store else [])]
    samples = {path.name: path.read_bytes() for path in paths}
    template = Template(files.pop("index.html").decode())
    values = {
        "title": app.title,
        "endpoint": endpoint,
        "store": store,
        "heading": domain.TITLE,
        "images": "yes" if "image/png" in domain.MEDIA_TYPES else "no",
        "example": to_json(domain.EXAMPLE, indent=2).decode(),
        "label": domain.LABEL,
        "labels": to_json(domain.LABELS).decode(),
        "hint": " … ".join(map(str, [*domain.LABELS[:1], *domain.LABELS[-1:]])),
        "samples": to_json(list(samples)).decode(),
        "pattern": folder.name,
        "start": to_json([choice._asdict() for choice in start_choices]).decode(),
        "about": " ".join(ElementTree.fromstring(files["diagram.svg"]).findtext(DESCRIPTION, "").split()),
    }
    page = template.substitute({name: escape(value) for name, value in values.items()}).encode()

    serve(app, page, files | samples, "playground", folder)


def serve(app: FastAPI, page: bytes, files: Mapping[str, bytes], name: str, folder: Path) -> None:
    """A page at `/`, and its files under `/NAME/`, by a media type and a policy that let nothing in from elsewhere.

    `/NAME/patterns` lists the patterns beside the one in `folder`: name, port, whether it runs, whether it is this one.
    A container cannot ask the others whether they run: null there. The page does, by an image of theirs that its policy
    allows.
    """
    local = local_neighbours(folder)
    published = {} if local else published_neighbours()
    neighbours = local or published
    readme = f"<code>{folder.name}/{README}</code>"
    if (folder / README).exists():  # not in an image
        readme = f'<a href="{name}/{README}">{readme}</a>'
        files = {**files, README: (folder / README).read_bytes()}
    page = page.replace(b"<!-- tabs -->", tabs_of(neighbours, folder.name).encode())
    page = page.replace(b"<!-- readme -->", readme.encode())

    async def index(request: Request) -> Response:
        policy = " ".join([POLICY, *neighbour_origins(request.url, published.values())])
        return Response(page, 200, {**HEADERS, "Content-Security-Policy": policy}, MEDIA_TYPES[".html"])

    async def file(file: str) -> Response:
        if file not in files:
            raise Problem(404, f"/{name}/{file}: the page has no such file")
        return Response(files[file], 200, HEADERS, MEDIA_TYPES[Path(file).suffix])

    async def patterns() -> list[dict[str, str | int | bool | None]]:
        running: Sequence[bool | None] = await asyncio.gather(*map(is_running, local.values()))
        return [
            {"name": name, "port": port, "running": runs, "current": name == folder.name}
            for (name, port), runs in zip(neighbours.items(), running or [None] * len(neighbours), strict=True)
        ]

    app.get("/", include_in_schema=False)(index)
    app.get(f"/{name}/patterns", include_in_schema=False)(patterns)
    app.get(f"/{name}/{{file}}", include_in_schema=False)(file)
