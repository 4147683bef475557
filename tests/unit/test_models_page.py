"""docs/models.md names every shipped preset as it is, and its requests are requests."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from core.service.domain.schema import JobRequest
from core.service.engines.definition import read_preset
from core.service.engines.preset import PipelineDownload
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "models.md").read_text()
REQUESTS: list[dict[str, Any]] = [
    json.loads(body) for body in re.findall(r"^curl .* -d '(\{.*\})'$", PAGE, re.MULTILINE)
]
PRESETS = {file.parent.name: read_preset(file.parent) for file in sorted(SHIPPED_PRESETS_DIR.glob("*/preset.json"))}
PIPELINES = [name for name, preset in PRESETS.items() if isinstance(preset.download, PipelineDownload)]
SHIPPED = [name for name, preset in PRESETS.items() if preset.card is not None and preset.download is None]
"""The tiny models of the sprites world, as `sprites` itself has no card."""


@pytest.mark.parametrize("name", PIPELINES)
def test_a_preset_is_on_the_page_with_its_sizes(name: str) -> None:
    card = PRESETS[name].card
    assert card is not None
    row = next(line for line in PAGE.splitlines() if line.startswith("| ") and f"`{name}`" in line)
    assert f"{card.disk_gb:g} GB" in row
    assert card.gpu_memory_gb is not None
    assert f"{card.gpu_memory_gb:g} GB" in row


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_is_on_the_page_with_a_demo_and_a_request(name: str) -> None:
    assert any(line.startswith("## ") and name in line for line in PAGE.splitlines())
    assert f"\nmake demo MODEL={name} " in PAGE
    assert name in {request["model"] for request in REQUESTS}


def test_every_engine_has_a_request_on_the_page() -> None:
    shown = {PRESETS[request["model"]].engine for request in REQUESTS}
    assert shown == {PRESETS[name].engine for name in PIPELINES}


@pytest.mark.parametrize("fields", REQUESTS, ids=lambda fields: fields["model"])
def test_a_request_on_the_page_has_what_its_model_takes(fields: dict[str, Any]) -> None:
    JobRequest.model_validate(fields)
    takes = PRESETS[fields["model"]].capabilities
    assert ("prompt" in fields) == (takes.prompt == "required")
    assert takes.image or "image" not in fields
    assert takes.video == "whole" or "video" not in fields
    assert fields.get("control", {}).get("type") in {None, *takes.control}
    assert not takes.needs_input or {"image", "video", "control"} & fields.keys()
