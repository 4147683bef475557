"""`refine` of a request: defaults filled in, or a refusal that names the nearest that works."""

from pathlib import Path

import pytest

from core.service.admission.catalog import Catalog
from core.service.admission.refine_request import refine_spec_of
from core.service.domain.errors import FieldNotSupported, InvalidField
from core.service.domain.schema import RefineOptions, RefineSpec
from core.service.engines.preset import Preset
from core.service.settings import Settings
from tests.helpers.presets import change_preset, write_fake_preset


@pytest.fixture
def facts(tmp_path: Path) -> Preset:
    """Previews of 64x64, refined to 128x128 unless told otherwise, at most 256."""
    write_fake_preset(tmp_path, "fake", refiner=True)
    return Catalog(Settings(presets_dir=tmp_path)).get("fake").preset


def refined(facts: Preset, **options: object) -> RefineSpec:
    spec = refine_spec_of(RefineOptions.model_validate(options), facts)
    assert spec is not None
    return spec


@pytest.mark.parametrize("asked", [None, False])
def test_nothing_is_refined_unasked(facts: Preset, asked: bool | None) -> None:
    assert refine_spec_of(asked, facts) is None


def test_true_is_the_presets_defaults(facts: Preset) -> None:
    spec = refine_spec_of(True, facts)
    assert spec == RefineSpec(
        strength=0.6, num_inference_steps=4, guidance_scale=2.0, height=128, width=128, schedule="streaming"
    )
    assert refined(facts) == spec


def test_what_is_given_replaces_the_default(facts: Preset) -> None:
    spec = refined(facts, strength=0.3, steps=7, guidance_scale=1.5, size="192x192", schedule="lockstep")
    assert (spec.strength, spec.num_inference_steps, spec.guidance_scale) == (0.3, 7, 1.5)
    assert (spec.width, spec.height, spec.schedule) == (192, 192, "lockstep")


def test_a_preset_without_a_refiner_refuses(facts: Preset) -> None:
    with pytest.raises(FieldNotSupported) as refusal:
        refine_spec_of(True, facts.model_copy(update={"refiner": None}))
    assert refusal.value.field == "refine"


@pytest.mark.parametrize(
    ("size", "nearest"),
    [
        ("130x130", "128x128"),
        ("128x120", "120x120"),
        ("8x8", "64x64"),
        ("4096x4096", "256x256"),
        ("250x256", "256x256"),
    ],
)
def test_a_size_that_is_not_possible_is_refused_with_the_nearest(facts: Preset, size: str, nearest: str) -> None:
    with pytest.raises(InvalidField) as refusal:
        refined(facts, size=size)
    assert (refusal.value.field, refusal.value.fix) == ("refine.size", f"give {nearest}")
    assert f"{refined(facts, size=nearest).width}x{refined(facts, size=nearest).height}" == nearest


def test_sizes_keep_the_previews_proportion(facts: Preset, tmp_path: Path) -> None:
    change_preset(tmp_path / "fake", height=40, width=64, refiner={**facts.refiner.model_dump(), "height": 80})  # pyright: ignore[reportOptionalMemberAccess] - it has one
    wide = Catalog(Settings(presets_dir=tmp_path)).get("fake").preset
    assert (refined(wide, size="192x120").width, refined(wide).height) == (192, 80)
    with pytest.raises(InvalidField, match="64x40"):
        refined(wide, size="128x128")


@pytest.mark.parametrize(
    ("options", "field", "fix"),
    [
        ({"strength": 0.05, "steps": 50}, "refine.strength", "a strength of at least 0.051 or at most 49 steps"),
        ({"strength": 0.001, "steps": 1}, "refine.strength", "a strength of at least 0.002"),
        ({"strength": 0.001, "steps": 1000}, "refine.strength", "a strength of 1 and at most 999 steps"),
        ({"strength": 0.004}, "refine.strength", "a strength of at least 0.005 or at most 3 steps"),
        ({"strength": 0}, "refine.strength", "a strength of at least 0.005"),
        ({"strength": -1e308}, "refine.strength", "a strength of at least 0.005"),
        ({"steps": 700}, "refine.steps", "at most 599 steps or a strength of at least 0.701"),
        ({"steps": 1000}, "refine.steps", "at most 599 steps"),
        ({"steps": 10**400}, "refine.steps", "at most 599 steps"),
    ],
)
def test_more_steps_than_noise_levels_are_refused_with_the_nearest(
    facts: Preset, options: dict[str, float], field: str, fix: str
) -> None:
    with pytest.raises(InvalidField) as refusal:
        refined(facts, **options)
    assert (refusal.value.field, refusal.value.fix) == (field, f"give {fix}")


@pytest.mark.parametrize(
    "options", [{"strength": 0.051, "steps": 50}, {"strength": 0.005}, {"steps": 599}, {"strength": 1, "steps": 999}]
)
def test_the_nearest_that_is_named_works(facts: Preset, options: dict[str, float]) -> None:
    assert refined(facts, **options).num_inference_steps == options.get("steps", 4)
