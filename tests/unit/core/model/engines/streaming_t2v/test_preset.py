"""preset.json of the engine streaming_t2v: allowed values, and what requests may have."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.model.engines.streaming_t2v.preset import read_preset
from core.service.domain.errors import PresetError
from core.service.settings import SHIPPED_PRESETS_DIR, Settings
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
    content = json.loads((sound / "preset.json").read_text())
    content["scheduler"]["num_train_timesteps"] = changes.get("timesteps", 1000)
    content["refiner"]["scheduler"] = {"num_train_timesteps": changes.get("refiner_timesteps", 1000)}
    (tmp_path / "preset.json").write_text(json.dumps(content | {"limits": changes.get("limits", {})}))

    if accepted:
        assert read_preset(tmp_path).scheduler.num_train_timesteps == changes.get("timesteps", 1000)
    else:
        with pytest.raises(PresetError, match="num_train_timesteps is "):
            read_preset(tmp_path)


@pytest.mark.parametrize(
    ("source", "steps", "accepts_image", "most_steps"),
    [
        (None, 4, False, None),
        ("base", 4, False, None),
        ("animatediff", 25, False, 500),
        ("svd", 25, True, 500),
        ("diffusers:a/b", 50, False, 500),
    ],
)
def test_the_operators_first_chunk_source_brings_its_own_sampling(
    sound: Path, source: str | None, steps: int, accepts_image: bool, most_steps: int | None
) -> None:
    preset = read_preset(sound).configured(Settings(first_chunk_source=source))
    fast = preset.profile_defaults["fast"]

    assert fast.first_chunk is not None
    assert (fast.first_chunk.num_inference_steps, fast.num_inference_steps) == (steps, 4)
    assert preset.capabilities.image == accepts_image
    assert preset.effective_limits.max_first_chunk_steps == most_steps


@pytest.mark.parametrize("source", ["", "sdv", "diffusers", "diffusers:", "svd:x/y", "base:"])
def test_an_unknown_first_chunk_source_is_refused(sound: Path, tmp_path: Path, source: str) -> None:
    with pytest.raises(ValidationError, match="is not base, animatediff, svd or diffusers:ORG/NAME"):
        Settings(first_chunk_source=source)
    content = json.loads((sound / "preset.json").read_text())
    (tmp_path / "preset.json").write_text(json.dumps(content | {"first_chunk_source": source}))
    with pytest.raises(PresetError, match=r"first_chunk_source: '.*' is not base, animatediff"):
        read_preset(tmp_path)


def test_unknown_keys_are_named_at_any_depth(sound: Path, tmp_path: Path) -> None:
    content = json.loads((sound / "preset.json").read_text())
    content["profiles"]["fast"]["windows"]["etta"] = 1.0
    (tmp_path / "preset.json").write_text(json.dumps(content))
    with pytest.raises(PresetError, match=r"profiles\.fast\.windows\.etta: this key is unknown"):
        read_preset(tmp_path)


def test_every_shipped_preset_is_valid() -> None:
    for name in ("sprites", "modelscope"):
        assert read_preset(SHIPPED_PRESETS_DIR / name).name == name
