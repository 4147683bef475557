"""What requests for editing models may have, and the shipped preset of the Hub's model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from core.model.engines.instruct_pix2pix.preset import InstructPix2PixPreset
from core.service.admission.admission import admit
from core.service.admission.catalog import Catalog
from core.service.admission.request_body import parse_request
from core.service.domain.errors import RequestError
from core.service.domain.schema import JobSpec
from core.service.engines.definition import read_preset
from core.service.engines.preset import PipelineDownload
from core.service.settings import SHIPPED_PRESETS_DIR, Settings
from tests.helpers.admission import PROMPT

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler
SHIPPED = SHIPPED_PRESETS_DIR / "instruct-pix2pix"
VIDEO = "https://example.com/a.mp4"


def test_the_shipped_preset_names_its_files_at_one_commit() -> None:
    preset = read_preset(SHIPPED)

    assert isinstance(preset, InstructPix2PixPreset)
    assert isinstance(preset.download, PipelineDownload)
    (source,) = preset.download.repositories
    assert len(source.revision) == 40
    assert {"model_index.json", "tokenizer/vocab.json", "tokenizer/merges.txt"} <= set(source.files)
    assert preset.card is not None


def test_a_preset_without_sizes_has_one_only() -> None:
    content = read_preset(SHIPPED).model_dump(exclude={"size"})

    assert InstructPix2PixPreset.model_validate(content).capabilities.size is None


@pytest.fixture
def settings(folder: Path, tmp_path: Path) -> Settings:
    shutil.copytree(folder, tmp_path / "editor")
    return Settings(presets_dir=tmp_path, default_model="editor")


def admitted(settings: Settings, **fields: Any) -> JobSpec:
    """The spec of a request; its input media are not looked for."""
    request = parse_request({"prompt": PROMPT, **fields})
    return admit(request, Catalog(settings), settings, lambda: 42, lambda _kind, _reference, _field: None).spec


def refusal(settings: Settings, **fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        admitted(settings, **fields)
    assert caught.value.fix
    return caught.value


def test_a_request_is_filled_in_with_the_models_defaults(settings: Settings) -> None:
    spec = admitted(settings, video=VIDEO)

    assert (spec.num_inference_steps, spec.guidance_scale, spec.profile) == (2, 7.5, None)
    assert spec.parameters == {"image_guidance_scale": 1.5}


def test_a_video_is_edited_in_whole_or_its_beginning(settings: Settings) -> None:
    assert admitted(settings, video=VIDEO).num_frames is None
    assert admitted(settings, video=VIDEO, num_frames=20).num_frames == 20


def test_a_request_may_have_another_size_that_the_network_can_have(settings: Settings) -> None:
    spec = admitted(settings, video=VIDEO, size="32x24")

    assert (spec.width, spec.height) == (32, 24)
    assert refusal(settings, video=VIDEO, size="33x24").field == "size"


@pytest.mark.parametrize("scale", [0, 10])
def test_the_scale_may_be_at_its_bounds(settings: Settings, scale: float) -> None:
    spec = admitted(settings, video=VIDEO, parameters={"image_guidance_scale": scale})

    assert spec.parameters == {"image_guidance_scale": scale}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("profile", "reference"),
        ("first_chunk", {"num_inference_steps": 2}),
        ("image", "https://example.com/a.png"),
        ("control", {"type": "canny", "video": VIDEO}),
    ],
)
def test_what_the_engine_does_not_take_is_refused_by_name(settings: Settings, field: str, value: object) -> None:
    error = refusal(settings, **{field: value})

    assert (error.code, error.field) == ("field_not_supported", field)


def test_an_instruction_without_a_video_is_refused(settings: Settings) -> None:
    error = refusal(settings)

    assert (error.field, error.fix) == ("video", "give video")


def test_it_cannot_be_refined(settings: Settings) -> None:
    assert refusal(settings, video=VIDEO, refine=True).field == "refine"


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"image_guidance_scale": -0.1}, "parameters.image_guidance_scale"),
        ({"image_guidance_scale": 10.1}, "parameters.image_guidance_scale"),
        ({"eta": 1}, "parameters.eta"),
    ],
)
def test_wrong_parameters_are_refused_by_name(settings: Settings, parameters: dict[str, float], field: str) -> None:
    error = refusal(settings, video=VIDEO, parameters=parameters)

    assert error.field == field
