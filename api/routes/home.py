"""The home page: submit a job, see the newest jobs, play one. A static file."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from api.http.pages import page

router = APIRouter(include_in_schema=False)
PAGE = Path(__file__).resolve().parents[1] / "home.html"


@router.get("/")
def home() -> HTMLResponse:
    return page(PAGE.read_text(encoding="utf-8"), foreign_media=True)


@router.get("/favicon.ico")
async def favicon() -> Response:
    """There is none, but browsers always request it."""
    return Response(status_code=204, headers={"Cache-Control": "public, max-age=86400"})
