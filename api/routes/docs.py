"""`/docs`: Swagger UI of the OpenAPI document. It loads nothing from other origins, so it works offline.

The files of Swagger UI come from the package fastapi-offline, of which nothing else is used. URLs are relative, so that
the page works under a proxy's prefix.
"""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from api.http.pages import page
from api.http.problems import UnknownPath

router = APIRouter(include_in_schema=False)
MEDIA_TYPES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
HTML = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Longtake: HTTP API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="docs"><a href="openapi.json">openapi.json</a></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null})</script>
"""


@router.get("/docs")
async def documentation() -> HTMLResponse:
    return page(HTML)


@router.get("/docs/{name}")
def asset(name: str) -> Response:
    """A file of Swagger UI (Apache License 2.0, SmartBear Software)."""
    if name not in MEDIA_TYPES:
        raise UnknownPath("the documentation has no such file", fix="see /docs")
    data = (files("fastapi_offline") / "static" / name).read_bytes()
    return Response(data, media_type=MEDIA_TYPES[name], headers={"Cache-Control": "public, max-age=86400"})
