"""`/docs` without the internet: FastAPI's Swagger UI page, with the files of the wheel `fastapi-offline`.

https://fastapi.tiangolo.com/how-to/custom-docs-ui-assets/
"""

from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse


def add_docs(app: FastAPI, url: str) -> None:
    """Serve Swagger UI at `url`, with the app's own parameters for it."""
    app.mount(f"{url}/files", StaticFiles(directory=str(files("fastapi_offline") / "static")), "docs")
    redirect = app.swagger_ui_oauth2_redirect_url

    @app.get(url, include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root_path = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root_path}{app.openapi_url}",
            title=f"{app.title} - Swagger UI",
            swagger_js_url=f"{root_path}{url}/files/swagger-ui-bundle.js",
            swagger_css_url=f"{root_path}{url}/files/swagger-ui.css",
            swagger_favicon_url=f"{root_path}{url}/files/favicon.png",
            oauth2_redirect_url=redirect and f"{root_path}{redirect}",
            init_oauth=app.swagger_ui_init_oauth,
            swagger_ui_parameters=app.swagger_ui_parameters,
        )

    if redirect:

        @app.get(redirect, include_in_schema=False)
        async def redirect_after_login() -> HTMLResponse:
            return get_swagger_ui_oauth2_redirect_html()
