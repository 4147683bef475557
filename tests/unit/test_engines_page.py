"""docs/engines.md shows the example engines as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
ZOOM, CLOUDS = EXAMPLES / "zoom_and_pan", EXAMPLES / "clouds"
FILES = [
    ZOOM / "longtake_zoom_and_pan" / "__init__.py",
    ZOOM / "longtake_zoom_and_pan" / "presets" / "zoom_and_pan" / "preset.json",
    ZOOM / "pyproject.toml",
    CLOUDS / "longtake_clouds" / "__init__.py",
    CLOUDS / "longtake_clouds" / "engine.py",
]
LANGUAGES = {".py": "python", ".json": "json", ".toml": "toml"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(EXAMPLES)))
def test_the_page_shows_the_examples_as_they_are(file: Path) -> None:
    page = (REPOSITORY / "docs" / "engines.md").read_text()
    assert f"```{LANGUAGES[file.suffix]}\n{file.read_text()}```" in page
