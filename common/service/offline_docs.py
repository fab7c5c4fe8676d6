"""`/docs` without the internet: FastAPI's Swagger UI page, with the files of the wheel `fastapi-offline`.

https://fastapi.tiangolo.com/how-to/custom-docs-ui-assets/
"""

from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

FILES = "/docs/files"


def add_docs(app: FastAPI) -> None:
    """Serve Swagger UI at `/docs`."""
    app.mount(FILES, StaticFiles(directory=str(files("fastapi_offline") / "static")), "docs")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root_path = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root_path}{app.openapi_url}",
            title=f"{app.title} - Swagger UI",
            swagger_js_url=f"{root_path}{FILES}/swagger-ui-bundle.js",
            swagger_css_url=f"{root_path}{FILES}/swagger-ui.css",
            swagger_favicon_url=f"{root_path}{FILES}/favicon.png",
        )
