"""What a preset.json may say of its timesteps: what requests may ask must fit."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.model.engines.streaming_t2v.preset import read_preset
from core.service.domain.errors import PresetError
from tests.helpers.random_preset import write_random_preset


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preset with random weights."""
    return write_random_preset(tmp_path_factory.mktemp("sound") / "toy")


@pytest.mark.parametrize(
    ("changes", "accepted"),
    [
        ({}, True),
        ({"timesteps": 500}, False),
        ({"timesteps": 500, "limits": {"max_inference_steps": 500, "max_first_chunk_steps": 500}}, True),
        ({"timesteps": 500, "limits": {"max_inference_steps": 501, "max_first_chunk_steps": 500}}, False),
        ({"timesteps": 3, "limits": {"max_inference_steps": 3, "max_first_chunk_steps": 3}}, False),  # fast takes 4
        ({"refiner_timesteps": 500}, False),
    ],
    ids=str,
)
def test_no_request_can_ask_more_steps_than_a_preset_has_timesteps(
    sound: Path, tmp_path: Path, changes: dict[str, Any], accepted: bool
) -> None:
    facts = json.loads((sound / "preset.json").read_text())
    facts["scheduler"]["num_train_timesteps"] = changes.get("timesteps", 1000)
    facts["refiner"]["scheduler"] = {"num_train_timesteps": changes.get("refiner_timesteps", 1000)}
    (tmp_path / "preset.json").write_text(json.dumps(facts | {"limits": changes.get("limits", {})}))

    if accepted:
        assert read_preset(tmp_path).schedule.num_train_timesteps == changes.get("timesteps", 1000)
    else:
        with pytest.raises(PresetError, match="num_train_timesteps is "):
            read_preset(tmp_path)
