"""Writes every generated page of docs/."""

from __future__ import annotations

from pathlib import Path

from tests.docs.settings_page import settings_page

DOCS = Path(__file__).resolve().parents[2] / "docs"

if __name__ == "__main__":
    (DOCS / "settings.md").write_text(settings_page())
