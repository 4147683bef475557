"""Limits of deployment and model on steps, frames and pixels; errors name the limit, its source and the fix."""

from pathlib import Path
from typing import Any

import pytest

from core.service.admission.catalog import Catalog
from core.service.domain.errors import InvalidField, TooManyFrames
from core.service.domain.schema import JobSpec
from core.service.settings import Settings
from tests.helpers.admission import asking, refusal, spec_of
from tests.helpers.presets import change_preset, write_fake_preset

LIMITS = {
    "num_inference_steps": "max_inference_steps",
    "first_chunk.num_inference_steps": "max_first_chunk_steps",
    "refine.steps": "max_refine_steps",
}
"""Fields that say a number of steps, and the names of their limits."""


@pytest.fixture
def limited(tmp_path: Path) -> Settings:
    """A deployment that takes 12 steps of each kind; the preset takes 4, and its frames are refined to 128x128."""
    write_fake_preset(tmp_path, "fake", refiner=True)
    limits: dict[str, Any] = {name: 12 for name in LIMITS.values()}
    return Settings(presets_dir=tmp_path, default_model="fake", max_lockstep_frames=64, **limits)


def asked_steps(spec: JobSpec) -> list[int | None]:
    return [
        spec.num_inference_steps,
        spec.first_chunk.num_inference_steps if spec.first_chunk else None,
        spec.refine.num_inference_steps if spec.refine else None,
    ]


@pytest.mark.parametrize("field", LIMITS)
def test_more_steps_than_the_deployment_allows_are_refused_with_the_limit_its_source_and_the_fix(
    limited: Settings, field: str
) -> None:
    assert 12 in asked_steps(spec_of(limited, **asking(field, 12)))
    refused = refusal(limited, **asking(field, 13))
    assert (type(refused), refused.field, refused.fix) == (InvalidField, field, "give at most 12")
    assert (
        refused.message == f"{field} is 13; the most is 12, set by this deployment (LONGTAKE_{LIMITS[field].upper()})"
    )


@pytest.mark.parametrize("field", LIMITS)
def test_a_model_may_take_fewer_steps_than_its_deployment(limited: Settings, field: str) -> None:
    change_preset(limited.presets_dir / "fake", limits={LIMITS[field]: 9})
    assert 9 in asked_steps(spec_of(limited, **asking(field, 9)))
    refused = refusal(limited, **asking(field, 10))
    assert refused.message == f"{field} is 10; the most is 9, set by the model fake"


@pytest.mark.parametrize("field", LIMITS)
def test_a_model_cannot_take_more_steps_than_its_deployment(limited: Settings, field: str) -> None:
    change_preset(limited.presets_dir / "fake", limits={LIMITS[field]: 900})
    assert "set by this deployment" in refusal(limited, **asking(field, 13)).message


@pytest.mark.parametrize("field", LIMITS)
def test_a_models_own_steps_are_never_refused(tmp_path: Path, field: str) -> None:
    write_fake_preset(tmp_path, "fake", steps=300, refiner=True)
    settings = Settings(presets_dir=tmp_path, default_model="fake")
    assert asked_steps(spec_of(settings, refine=True)) == [300, 300, 300]
    assert 300 in asked_steps(spec_of(settings, **asking(field, 300)))
    refused = refusal(settings, **asking(field, 301))
    assert "the most is 300, the model's own default, above the " in refused.message
    assert f"LONGTAKE_{LIMITS[field].upper()}" in refused.message


def test_a_default_beyond_all_steps_of_a_request_is_the_presets_own_matter(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "fake", steps=5000)
    assert asked_steps(spec_of(Settings(presets_dir=tmp_path, default_model="fake"))) == [5000, 5000, None]


def test_frames_beyond_the_limit_name_who_set_it(settings: Settings) -> None:
    assert "LONGTAKE_MAX_FRAMES" in refusal(settings, num_frames=801).message
    change_preset(settings.presets_dir / "fake", limits={"max_frames": 32})
    for fields in ({"num_frames": 33}, {"seconds": 5}):
        refused = refusal(settings, **fields)
        assert isinstance(refused, TooManyFrames)
        assert "the 32 frames allowed here, set by the model fake" in refused.message


def test_a_request_without_a_length_gets_no_more_frames_than_allowed(settings: Settings) -> None:
    change_preset(settings.presets_dir / "fake", limits={"max_frames": 32})
    assert spec_of(settings).num_frames == 32


def test_lockstep_over_a_long_video_is_refused_with_both_ways_out(limited: Settings) -> None:
    assert spec_of(limited, refine={"schedule": "lockstep"}, num_frames=64).num_frames == 64
    assert spec_of(limited, refine={"schedule": "streaming"}, num_frames=65).num_frames == 65
    refused = refusal(limited, refine={"schedule": "lockstep"}, num_frames=65)
    assert (type(refused), refused.field) == (InvalidField, "refine.schedule")
    assert refused.fix == "use the schedule streaming, or give at most 64 frames"
    assert "LONGTAKE_MAX_LOCKSTEP_FRAMES" in refused.message


def test_a_refined_frame_has_no_more_pixels_than_allowed(limited: Settings) -> None:
    small = limited.model_copy(update={"max_refine_pixels": 160 * 160})
    assert spec_of(small, refine={"size": "160x160"}).refine is not None
    refused = refusal(small, refine={"size": "192x192"})
    assert (refused.field, refused.fix) == ("refine.size", "give 160x160")
    assert "it has 36864 pixels; the most is 25600, set by this deployment (LONGTAKE_MAX_REFINE_PIXELS)" in str(refused)


def test_the_size_that_a_model_refines_to_by_itself_is_never_refused(limited: Settings) -> None:
    tiny = limited.model_copy(update={"max_refine_pixels": 1})
    refine = spec_of(tiny, refine=True).refine
    assert refine is not None
    assert (refine.width, refine.height) == (128, 128)
    assert refusal(tiny, refine={"size": "192x192"}).fix == "give 128x128"


def test_the_shipped_models_limits_leave_their_published_settings_alone() -> None:
    settings = Settings()
    for name in ("sprites", "modelscope"):
        facts = Catalog(settings).get(name).preset
        assert set(facts.profile_defaults) == {"fast", "reference"}
        for profile in facts.profile_defaults.values():
            assert profile.num_inference_steps is not None
            assert profile.first_chunk is not None
            assert profile.num_inference_steps <= settings.max_inference_steps
            assert profile.first_chunk.num_inference_steps <= settings.max_first_chunk_steps
        assert facts.refiner is not None
        assert facts.refiner.num_inference_steps <= settings.max_refine_steps
        assert facts.refiner.width * facts.refiner.height <= settings.max_refine_pixels
