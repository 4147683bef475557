"""Sizes in requests: the model's own, those that its networks take, and the nearest of others."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest

from core.service.admission.size import fits, nearest
from core.service.domain.errors import FieldNotSupported, InvalidField
from core.service.engines.capabilities import SizeRule
from core.service.settings import Settings
from tests.helpers.admission import refusal, spec_of
from tests.helpers.presets import write_fake_preset

RULE = SizeRule(multiple_of=8, min_side=32, max_side=256, max_pixels=128 * 128)


def distance(pair: tuple[int, int], width: int, height: int) -> float:
    return math.log(pair[0] / width) ** 2 + math.log(pair[1] / height) ** 2


@pytest.fixture
def sized(tmp_path: Path) -> Settings:
    """A model of 64x64 pixels that takes others."""
    write_fake_preset(tmp_path / "sized", "fake", refiner=True, size=RULE.model_dump())
    return Settings(presets_dir=tmp_path / "sized", default_model="fake")


def test_the_size_is_kept(sized: Settings) -> None:
    spec = spec_of(sized, size="256x64")
    assert (spec.width, spec.height) == (256, 64)


@pytest.mark.parametrize("size", [None, "64x64"])
def test_the_models_own_size_is_the_presets(sized: Settings, settings: Settings, size: str | None) -> None:
    for each in (sized, settings):
        spec = spec_of(each, size=size)
        assert (spec.width, spec.height) == (None, None)


def test_a_model_with_one_size_refuses_another(settings: Settings) -> None:
    refused = refusal(settings, size="128x64")
    assert (type(refused), refused.field) == (FieldNotSupported, "size")
    assert refused.fix == "give 64x64, or leave it out"


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("97x64", "96x64"),
        ("101x64", "104x64"),
        ("16x16", "32x32"),
        ("4000x64", "256x64"),
        ("256x256", "128x128"),
        ("2000x1000", "184x88"),
        ("136x128", "128x128"),
    ],
)
def test_an_impossible_size_is_refused_with_the_nearest(sized: Settings, asked: str, near: str) -> None:
    refused = refusal(sized, size=asked)
    assert (type(refused), refused.field, refused.fix) == (InvalidField, "size", f"give {near}")


def test_the_nearest_size_is_possible_and_none_is_nearer() -> None:
    sides = range(8, 304, 8)
    possible = [pair for pair in itertools.product(sides, sides) if fits(RULE, *pair)]
    for width, height in itertools.product(range(9, 400, 57), range(9, 400, 43)):
        found = nearest(RULE, width, height)
        assert fits(RULE, *found)
        assert distance(found, width, height) == min(distance(pair, width, height) for pair in possible)


def test_another_size_is_not_refined(sized: Settings) -> None:
    refused = refusal(sized, size="128x64", refine=True)
    assert (type(refused), refused.field) == (FieldNotSupported, "size")
    assert spec_of(sized, size="64x64", refine=True).refine is not None
    assert spec_of(sized, size="128x64", refine=False).width == 128
