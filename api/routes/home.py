"""One small page for people: submit, see the newest jobs, play one. A static file, served as it is."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)
PAGE = Path(__file__).resolve().parents[1] / "home.html"


@router.get("/")
async def home() -> FileResponse:
    return FileResponse(PAGE, headers={"Cache-Control": "no-cache"})
