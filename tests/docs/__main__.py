"""Writes every generated page of docs/, and the copy of the OpenAPI document that a test compares."""

from __future__ import annotations

from pathlib import Path

from tests.docs.openapi_document import openapi_text
from tests.docs.reference_page import reference_page
from tests.docs.settings_page import settings_page

REPOSITORY = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    (REPOSITORY / "docs" / "settings.md").write_text(settings_page())
    (REPOSITORY / "docs" / "http-reference.md").write_text(reference_page())
    (REPOSITORY / "tests" / "unit" / "api" / "openapi.json").write_text(openapi_text())
