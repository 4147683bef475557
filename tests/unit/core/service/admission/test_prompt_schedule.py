"""`prompts` of a request: what is taken, and what is refused with the entry at fault."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.service.domain.schema import MAX_PROMPTS
from core.service.settings import Settings
from tests.helpers.admission import admitted, refusal
from tests.helpers.presets import MAX_PROMPT_TOKENS, change_preset, write_fake_preset


def at(*prompts: tuple[int, str], **fields: Any) -> dict[str, Any]:
    entries = [{"start_frame": frame, "text": text} for frame, text in prompts]
    return {"prompt": None, "prompts": entries, "num_frames": 64, **fields}


def test_a_schedule_becomes_a_first_prompt_and_its_changes(settings: Settings) -> None:
    found = admitted(settings, **at((0, " a red circle "), (17, "a blue\u200b square"), (63, "a green circle")))
    assert found.spec.prompt == "a red circle"
    changes = [(change.start_frame, change.text) for change in found.spec.prompt_changes]
    assert changes == [(17, "a blue square"), (63, "a green circle")]
    assert [(warning.code, warning.field) for warning in found.warnings] == [("characters_removed", "prompts[1].text")]


def test_a_schedule_of_one_prompt_is_that_prompt(settings: Settings) -> None:
    spec = admitted(settings, **at((0, "a red circle"))).spec
    assert (spec.prompt, spec.prompt_changes) == ("a red circle", ())


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"prompt": None}, "invalid_field", "prompt"),
        (at((0, "a"), (16, "b")) | {"prompt": "a red circle"}, "invalid_field", "prompts"),
        (at(), "invalid_field", "prompts"),
        (at((1, "a circle")), "invalid_field", "prompts[0].start_frame"),
        (at((0, "a circle"), (0, "a square")), "invalid_field", "prompts[1].start_frame"),
        (at((0, "a circle"), (40, "a square"), (30, "a circle")), "invalid_field", "prompts[2].start_frame"),
        (at((0, "a circle"), (64, "a square")), "invalid_field", "prompts[1].start_frame"),
        (at((0, "a circle"), (-5, "a square")), "invalid_field", "prompts[1].start_frame"),
        (at((0, "a circle"), (16, "")), "invalid_field", "prompts[1].text"),
        (at((0, "a circle"), (16, "\u200b")), "invalid_field", "prompts[1].text"),
        (at((0, "a circle"), (16, "a\u202e circle")), "invalid_field", "prompts[1].text"),
        (at((0, "a circle"), (16, "a " * (MAX_PROMPT_TOKENS + 1))), "prompt_too_long", "prompts[1].text"),
        (at(*((16 * index, "a circle") for index in range(MAX_PROMPTS + 1))), "invalid_field", "prompts"),
        ({"prompts": "a circle", "prompt": None}, "invalid_field", "prompts"),
        ({"prompts": [{"start_frame": 0, "text": "a", "weight": 1}]}, "invalid_field", "prompts[0].weight"),
    ],
)
def test_a_wrong_schedule_is_refused_at_its_entry(
    settings: Settings, fields: dict[str, Any], code: str, field: str
) -> None:
    refused = refusal(settings, **fields)
    assert (refused.code, refused.field) == (code, field)


def test_the_refiner_s_suffix_must_fit_behind_every_prompt(tmp_path: Path) -> None:
    folder = write_fake_preset(tmp_path, "fake", refiner=True)
    refiner = json.loads((folder / "preset.json").read_text())["refiner"]
    change_preset(folder, refiner={**refiner, "prompt_suffix": ", "})
    longest = "a" + " a" * (MAX_PROMPT_TOKENS - 1)
    settings = Settings(presets_dir=tmp_path, default_model="fake")
    refused = refusal(settings, **at((0, "a circle"), (16, longest), refine=True))
    assert (refused.code, refused.field) == ("prompt_too_long", "prompts[1].text")
