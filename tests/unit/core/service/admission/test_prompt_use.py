"""Models that read no prompt, or none beside an image."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from core.service.admission.admission import admit
from core.service.admission.catalog import Catalog
from core.service.admission.request_body import parse_request
from core.service.domain.errors import FieldNotSupported, InvalidField, ModelNotInstalled
from core.service.domain.schema import JobSpec
from core.service.settings import Settings
from tests.helpers.presets import write_fake_preset

URL = "https://example.com/a.png"


def model(folder: Path, prompt: str, **keys: Any) -> Settings:
    write_fake_preset(folder, "fake", accepts_image=True, prompt=prompt, **keys)
    shutil.rmtree(folder / "fake" / "tokenizer")  # a model without text has none
    return Settings(presets_dir=folder, default_model="fake")


def spec_of(settings: Settings, **fields: Any) -> JobSpec:
    request = parse_request(fields)
    return admit(request, Catalog(settings), settings, lambda: 42, lambda _kind, _reference, _field: None).spec


@pytest.mark.parametrize("use", ["no", "without_image"])
def test_an_image_alone_is_a_request(tmp_path: Path, use: str) -> None:
    spec = spec_of(model(tmp_path, use), image=URL)
    assert (spec.prompt, spec.prompt_changes, spec.negative_prompt, spec.image) == ("", (), "", URL)


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": "a red circle"},
        {"prompts": [{"start_frame": 0, "text": "a"}]},
        {"negative_prompt": "blur"},
        {"enhance_prompt": True},
    ],
)
@pytest.mark.parametrize(("use", "beside"), [("no", ""), ("without_image", " beside an image")])
def test_a_prompt_that_nothing_reads_is_refused_by_name(
    tmp_path: Path, given: dict[str, Any], use: str, beside: str
) -> None:
    (field,) = given
    with pytest.raises(FieldNotSupported, match=f"^fake takes no {field}{beside}$") as caught:
        spec_of(model(tmp_path, use), image=URL, **given)
    assert (caught.value.field, caught.value.fix) == (field, "leave it out")


def test_the_models_own_negative_prompt_is_not_given_where_nothing_reads_it(tmp_path: Path) -> None:
    assert spec_of(model(tmp_path, "without_image", negative_prompt="blur"), image=URL).negative_prompt == ""


def test_without_an_image_a_prompt_is_needed(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="prompt is missing"):
        spec_of(model(tmp_path, "without_image"))


def test_an_image_is_no_prompt_for_a_model_that_reads_one(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match="prompt is missing"):
        spec_of(model(tmp_path, "required"), image=URL)


def test_a_model_that_is_not_installed_says_so_without_a_prompt(tmp_path: Path) -> None:
    part = {"repository": "org/it", "revision": "main", "files": ["model_index.json"]}
    settings = model(tmp_path, "no", download={"kind": "pipeline", "repositories": [part]})
    with pytest.raises(ModelNotInstalled):
        spec_of(settings.model_copy(update={"weights_dir": tmp_path / "weights"}), image=URL)


@pytest.mark.parametrize("needs_input", [True, False])
def test_an_instruction_for_an_editor_is_not_lengthened(tmp_path: Path, needs_input: bool) -> None:
    """The language model is asked for appearance, surroundings and camera, and an editor would change all of them."""
    write_fake_preset(tmp_path, "fake", video="whole", needs_input=needs_input)
    settings = Settings(presets_dir=tmp_path, default_model="fake")
    asked = {"prompt": "make it blue", "video": URL, "num_frames": 48, "enhance_prompt": True}
    if not needs_input:
        assert spec_of(settings, **asked).prompt == "make it blue"
        return
    with pytest.raises(FieldNotSupported, match="a prompt for fake is an instruction") as caught:
        spec_of(settings, **asked)
    assert (caught.value.field, caught.value.fix) == ("enhance_prompt", "leave it out")
