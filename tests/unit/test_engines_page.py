"""docs/engines.md shows the example engine as it is."""

from __future__ import annotations

import pytest

from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "examples" / "zoom_and_pan"
FILES = {
    "python": EXAMPLE / "longtake_zoom_and_pan" / "__init__.py",
    "json": EXAMPLE / "longtake_zoom_and_pan" / "presets" / "zoom_and_pan" / "preset.json",
    "toml": EXAMPLE / "pyproject.toml",
}


@pytest.mark.parametrize("language", FILES)
def test_the_page_shows_the_example_as_it_is(language: str) -> None:
    page = (REPOSITORY / "docs" / "engines.md").read_text()
    _, _, rest = page.partition(f"```{language}\n")
    shown, _, _ = rest.partition("```")
    assert shown == FILES[language].read_text()
