"""`/docs`: Swagger UI, for development. Its files come from a package, so it needs no network."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

_PATH: Final = "/docs"
_FILES_PATH: Final = "/docs/files"

CONTENT_SECURITY_POLICY: Final = "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'"
"""The page may load files from this origin only. Swagger UI has inline scripts and styles."""


def add_docs_page(app: FastAPI, prefix: str = "") -> None:
    """Serve the page and its files.

    Args:
        prefix: of all paths as browsers see them.
    """
    # Not the package's own FastAPI class, which always adds a second page.
    static = StaticFiles(directory=str(files("fastapi_offline") / "static"))
    app.mount(_FILES_PATH, static, name="docs_files")

    @app.get(_PATH, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=f"{prefix}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{prefix}{_FILES_PATH}/swagger-ui-bundle.js",
            swagger_css_url=f"{prefix}{_FILES_PATH}/swagger-ui.css",
            swagger_favicon_url=f"{prefix}{_FILES_PATH}/favicon.png",
        )
