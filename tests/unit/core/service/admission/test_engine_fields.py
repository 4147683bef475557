"""Requests for an engine with its own `parameters`, required input media and no sampling fields."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from core.service.admission.admission import admit
from core.service.admission.catalog import Catalog, default_spec
from core.service.admission.request_body import parse_request
from core.service.domain.errors import FieldNotSupported, InvalidField, PresetError
from core.service.domain.schema import JobSpec, Profile
from core.service.engines.capabilities import Capabilities
from core.service.engines.definition import ENGINES, EngineDefinition, Parameters, parameters_schema
from core.service.engines.preset import ProfileDefaults
from core.service.settings import Settings
from core.service.testing.definitions import FAKE_ENGINE, FakePreset
from tests.helpers.admission import PROMPT, refusal, spec_of
from tests.helpers.presets import write_fake_preset


class ZoomParameters(Parameters):
    """Of an engine of a test."""

    zoom: float = Field(default=1.5, ge=1, le=4)
    path: tuple[Literal["left", "right"], ...] = ()
    strength: float = 0.8


@pytest.fixture
def zooming(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """A model that takes `parameters` and an input, and no sampling field."""

    class Zooming(FakePreset):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(fields=("fps",), image=True, video="whole", needs_input=True)

        @property
        def profile_defaults(self) -> Mapping[Profile, ProfileDefaults]:
            return {}

        def idle_parameters(self, *, has_video: bool, has_control: bool) -> Mapping[str, str]:
            del has_control
            return {} if has_video else {"strength": "an image is not repainted"}

    definition = replace(FAKE_ENGINE, preset=Zooming, parameters=ZoomParameters)

    def get(_name: str) -> EngineDefinition[FakePreset]:
        return definition

    monkeypatch.setattr(ENGINES, "get", get)
    write_fake_preset(tmp_path, "fake", accepts_image=True)
    return Settings(presets_dir=tmp_path, default_model="fake")


def admitted_with_image(settings: Settings, **fields: Any) -> JobSpec:
    request = parse_request({"prompt": PROMPT, "image": "https://example.com/a.png", **fields})
    return admit(request, Catalog(settings), settings, lambda: 42, lambda _kind, _reference, _field: None).spec


def test_an_engines_own_parameters_are_kept_with_their_defaults(zooming: Settings) -> None:
    spec = admitted_with_image(zooming, parameters={"path": ["left"]})
    assert spec.parameters == {"zoom": 1.5, "path": ["left"]}
    sampling = (spec.guidance_scale, spec.num_inference_steps, spec.profile, spec.first_chunk)
    assert sampling == (None, None, None, None)


def test_a_preset_has_its_own_defaults_of_parameters(zooming: Settings) -> None:
    write_fake_preset(zooming.presets_dir, "near", accepts_image=True, parameters={"zoom": 2.5})
    assert admitted_with_image(zooming, model="near").parameters["zoom"] == 2.5
    assert admitted_with_image(zooming, model="near", parameters={"zoom": 3}).parameters["zoom"] == 3
    preset = Catalog(zooming).get("near").preset
    assert default_spec(preset, PROMPT, 16, 1).parameters["zoom"] == 2.5
    zoom, path = (parameters_schema(preset)["properties"][name]["default"] for name in ("zoom", "path"))
    assert (zoom, path) == (2.5, [])


def test_wrong_defaults_of_a_preset_are_refused_by_name(zooming: Settings) -> None:
    write_fake_preset(zooming.presets_dir, "near", accepts_image=True, parameters={"zoom": 9})
    with pytest.raises(PresetError, match=r"preset\.json: parameters\.zoom: Input should be less than"):
        _ = Catalog(zooming).get("near").preset


@pytest.mark.parametrize(
    ("parameters", "field", "fix"),
    [
        ({"zoom": 9}, "parameters.zoom", "give at most 4"),
        ({"zoom": "2"}, "parameters.zoom", "give a number without quotes"),
        ({"path": ["left", "in"]}, "parameters.path[1]", "use 'left' or 'right'"),
        ({"speed": 1}, "parameters.speed", "leave it out"),
        ({"path": ["le\u202eft"]}, "parameters.path[0]", None),
    ],
)
def test_a_wrong_parameter_is_named_with_the_fix(
    zooming: Settings, parameters: dict[str, Any], field: str, fix: str | None
) -> None:
    with pytest.raises(InvalidField) as caught:
        admitted_with_image(zooming, parameters=parameters)
    assert caught.value.field == field
    assert fix is None or caught.value.fix == fix


@pytest.mark.parametrize(
    "fields",
    [
        {"negative_prompt": "blurry"},
        {"seed": 1},
        {"guidance_scale": 2.0},
        {"num_inference_steps": 4},
        {"profile": "fast"},
        {"first_chunk": {}},
        {"refine": True},
    ],
)
def test_a_field_that_the_engine_would_ignore_is_refused(zooming: Settings, fields: dict[str, Any]) -> None:
    with pytest.raises(FieldNotSupported) as caught:
        admitted_with_image(zooming, **fields)
    assert caught.value.field == next(iter(fields))
    assert caught.value.fix


def test_a_parameter_that_would_do_nothing_is_refused(zooming: Settings) -> None:
    with pytest.raises(FieldNotSupported, match="an image is not repainted") as caught:
        admitted_with_image(zooming, parameters={"strength": 0.5})

    assert caught.value.field == "parameters.strength"
    assert caught.value.fix == "leave it out"


def test_an_engine_that_needs_an_input_says_so(zooming: Settings) -> None:
    refused = refusal(zooming)
    assert (type(refused), refused.field) == (InvalidField, "image")
    assert refused.fix == "give a URL or an upload as image or video"


def test_parameters_of_an_engine_without_any_are_refused(settings: Settings) -> None:
    refused = refusal(settings, parameters={"zoom": 2})
    assert (type(refused), refused.field) == (FieldNotSupported, "parameters")
    assert spec_of(settings, parameters={}).parameters == {}
