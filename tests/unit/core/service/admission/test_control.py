"""Control videos in requests: types, defaults, and what is refused with which field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.service.admission.admission import Admitted, admit
from core.service.admission.catalog import Catalog
from core.service.admission.request_body import parse_request
from core.service.domain.errors import FieldNotSupported, InvalidField, ModelNotInstalled, TooFewFrames
from core.service.domain.media_types import MediaKind
from core.service.domain.schema import ControlSpec, JobSpec
from core.service.settings import Settings
from tests.helpers.admission import PROMPT, refusal
from tests.helpers.presets import write_fake_preset

URL = "https://example.com/a.mp4"


@pytest.fixture
def controlled(tmp_path: Path) -> Settings:
    """A model with two types of control video, of which `canny` is installed."""
    write_fake_preset(tmp_path, "fake", accepts_image=True, control=["canny", "depth"], length_of_input=True)
    return Settings(presets_dir=tmp_path, default_model="fake", max_frames=800)


def with_control(settings: Settings, asked: list[tuple[str, ...]] | None = None, **control: Any) -> Admitted:
    """A request with control; the references that were checked go to `asked`."""

    def check(kind: MediaKind, reference: str, field: str) -> None:
        if asked is not None:
            asked.append((kind, reference, field))

    request = parse_request({"prompt": PROMPT, "control": {"type": "canny", "video": URL, **control}})
    return admit(request, Catalog(settings), settings, lambda: 42, check)


def test_what_is_left_out_has_the_defaults(controlled: Settings) -> None:
    spec = with_control(controlled).spec
    assert spec.control == ControlSpec(type="canny", video=URL, scale=1.0, start=0.0, end=1.0)


def test_what_is_given_is_kept(controlled: Settings) -> None:
    spec = with_control(controlled, scale=0, start=0.25, end=0.5).spec
    assert spec.control == ControlSpec(type="canny", video=URL, scale=0.0, start=0.25, end=0.5)


def test_the_video_is_checked_as_its_field(controlled: Settings) -> None:
    asked = list[tuple[str, ...]]()
    with_control(controlled, asked)
    assert asked == [("video", URL, "control.video")]


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"control": {"type": "canny", "video": URL}}, "motion_x"),
        ({"control": {"type": "canny", "video": URL}}, "t1"),
        ({}, "background_smoothing"),
    ],
)
def test_parameters_that_would_do_nothing_are_refused_if_the_request_gives_them(
    asked: dict[str, Any], name: str
) -> None:
    """The preset's own defaults of them are left out in silence."""
    shipped = Settings(default_model="sprites-zero")

    def admitted(**fields: Any) -> JobSpec:
        request = parse_request({"prompt": "a red circle", **asked, **fields})
        return admit(request, Catalog(shipped), shipped, lambda: 42, lambda _kind, _reference, _field: None).spec

    assert name not in admitted().parameters
    with pytest.raises(FieldNotSupported) as caught:
        admitted(parameters={name: 0.5})
    assert caught.value.field == f"parameters.{name}"


def test_a_model_without_control_refuses_it_by_name(settings: Settings) -> None:
    refused = refusal(settings, control={"type": "canny", "video": URL})
    assert (type(refused), refused.field, refused.message) == (FieldNotSupported, "control", "fake takes no control")


def test_an_unknown_type_names_those_that_there_are(controlled: Settings) -> None:
    refused = refusal(controlled, control={"type": "pose", "video": URL})
    assert (type(refused), refused.field, refused.fix) == (InvalidField, "control.type", "use one of: canny, depth")


def test_a_type_without_its_network_says_how_it_is_installed(controlled: Settings) -> None:
    with pytest.raises(ModelNotInstalled) as caught:
        with_control(controlled, type="depth")
    assert caught.value.field == "control.type"
    assert caught.value.fix == "put its files into controlnet/depth of the preset's folder, or leave `control` out"


def test_a_model_that_is_wholly_missing_is_installed_with_the_network_by_one_command(tmp_path: Path) -> None:
    source = {"repository": "org/method", "revision": "main", "files": ["all.ckpt"]}
    write_fake_preset(tmp_path, "large", control=["canny"], download={"checkpoint": source, "base": source})
    settings = Settings(presets_dir=tmp_path, weights_dir=tmp_path / "weights", default_model="large")
    with pytest.raises(ModelNotInstalled) as caught:
        with_control(settings)
    assert caught.value.field == "control.type"
    assert caught.value.fix == "run `longtake pull large --with canny`, or leave `control` out"


@pytest.mark.parametrize(
    ("control", "field"),
    [
        ({"start": 0.5, "end": 0.5}, "control.start"),
        ({"start": 1}, "control.start"),
        ({"end": 0}, "control.end"),
        ({"start": 1.5}, "control.start"),
        ({"scale": 2.5}, "control.scale"),
        ({"video": ""}, "control.video"),
        ({"strength": 1}, "control.strength"),
        ({"type": "can\u202eny"}, "control.type"),
        ({"video": "https://example.com/\u0007"}, "control.video"),
    ],
)
def test_values_out_of_range_are_named(controlled: Settings, control: dict[str, Any], field: str) -> None:
    refused = refusal(controlled, control={"type": "canny", "video": URL, **control})
    assert (type(refused), refused.field) == (InvalidField, field)


@pytest.mark.parametrize("other", ["image", "video"])
def test_a_job_has_one_kind_of_input_media(controlled: Settings, other: str) -> None:
    refused = refusal(controlled, control={"type": "canny", "video": URL}, **{other: URL})
    message = f"both {other} and control are given"
    assert (type(refused), refused.field, refused.message) == (InvalidField, "control", message)


def test_a_model_that_needs_an_input_names_control_among_others(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "fake", control=["canny"], video="whole", needs_input=True)
    refused = refusal(Settings(presets_dir=tmp_path, default_model="fake"))
    assert (refused.field, refused.fix) == ("video", "give a URL or an upload as video or control")


@pytest.mark.parametrize("written", [{}, {"num_frames": None}])
def test_a_job_may_be_as_long_as_its_input(controlled: Settings, written: dict[str, Any]) -> None:
    spec = with_input(controlled, control={"type": "canny", "video": URL}, **written)
    assert (spec.num_frames, spec.endless_limit, spec.length) == (None, 800, 800)


@pytest.mark.parametrize("endless", [0, 200, 1_000_000])
@pytest.mark.parametrize(("most", "expected"), [(None, 800), (480, 480), (9600, 800), (1, 16)])
def test_the_limit_of_videos_without_end_is_not_that_of_videos_as_long_as_their_input(
    controlled: Settings, endless: int, most: int | None, expected: int
) -> None:
    settings = controlled.model_copy(update={"max_endless_frames": endless})
    request = parse_request({"prompt": PROMPT, "control": {"type": "canny", "video": URL}})
    spec = admit(request, Catalog(settings), settings, lambda: 42, unchecked, most_frames=most).spec
    assert (spec.num_frames, spec.endless_limit) == (None, expected)


def test_a_length_that_is_named_is_the_length(controlled: Settings) -> None:
    control = {"type": "canny", "video": URL}
    assert with_input(controlled, control=control, num_frames=40).num_frames == 40
    assert with_input(controlled, control=control, seconds=4).num_frames == 32
    with pytest.raises(TooFewFrames):
        with_input(controlled, control=control, num_frames=0)


def test_without_an_input_the_length_is_the_usual_one(controlled: Settings) -> None:
    spec = with_input(controlled)
    assert (spec.num_frames, spec.endless_limit) == (48, None)


def test_a_job_along_its_input_is_not_endless(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "fake", control=["canny"])
    settings = Settings(presets_dir=tmp_path, default_model="fake")
    with pytest.raises(FieldNotSupported) as caught:
        with_input(settings, control={"type": "canny", "video": URL}, num_frames=None)
    assert caught.value.field == "num_frames"


def with_input(settings: Settings, **fields: Any) -> JobSpec:
    request = parse_request({"prompt": PROMPT, **fields})
    return admit(request, Catalog(settings), settings, lambda: 42, unchecked).spec


def unchecked(_kind: MediaKind, _reference: str, _field: str) -> None:
    """Every reference is good."""
