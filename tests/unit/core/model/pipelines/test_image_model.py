"""The text-to-image model behind image-to-video: its sizes, and models that cannot be used."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from core.model.pipelines.image_model import ImageGenerator, fetch_image_model, load_image_model, own_side
from core.model.pipelines.loading import Placement
from core.model.pipelines.steps import StepReporter
from core.model.presets.fingerprint import weights_digest
from core.model.sampling.noise import seeded
from core.service.domain.engine import ignore_step
from core.service.domain.errors import PresetError
from tests.helpers.image_model import QuickImageGenerator

# diffusers' Euler scheduler gives numpy a tensor in a way that numpy 2 wants done otherwise.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CPU = Placement(torch.device("cpu"))


def pipeline_of(side: int | None) -> SimpleNamespace:
    """What a pipeline tells of its own size."""
    return SimpleNamespace(vae_scale_factor=8, unet=SimpleNamespace(config=SimpleNamespace(sample_size=side)))


def test_a_pipeline_tells_its_own_side(sdxl: Path) -> None:
    assert own_side(load_image_model(str(sdxl), CPU)) == 16
    assert own_side(pipeline_of(64)) == 512
    assert own_side(SimpleNamespace(vae_scale_factor=8, default_sample_size=128)) == 1024
    assert own_side(pipeline_of(None)) is None


@pytest.mark.parametrize(
    ("side", "video", "picture"),
    [
        (128, (576, 1024), (768, 1344)),
        (128, (1024, 576), (1344, 768)),
        (64, (704, 1280), (384, 704)),
        (128, (512, 512), (1024, 1024)),
        (None, (576, 1024), (576, 1024)),
    ],
)
def test_a_picture_has_the_ratio_of_the_video_and_the_pixels_of_the_model(
    side: int | None, video: tuple[int, int], picture: tuple[int, int]
) -> None:
    generator = QuickImageGenerator(lambda: pipeline_of(side), 1)

    assert tuple(generator._size(*video).values()) == picture  # pyright: ignore[reportPrivateUsage] - too large to make


def test_steps_are_the_pipeline_s_own(sdxl: Path) -> None:
    assert ImageGenerator(lambda: load_image_model(str(sdxl), CPU)).num_steps == 50


def test_a_picture_is_made_in_the_generator_s_own_size_or_in_the_asked_one(sdxl: Path) -> None:
    generator = QuickImageGenerator(lambda: load_image_model(str(sdxl), CPU), 1)

    own = generator("a cat", "", seeded(7), StepReporter(ignore_step, 1))
    asked = generator("a cat", "", seeded(7), StepReporter(ignore_step, 1), (16, 24))

    assert own.shape == (1, 3, 16, 16)
    assert asked.shape == (1, 3, 64, 64)
    assert own.min() >= 0
    assert own.max() <= 1


def test_a_model_that_makes_no_pictures_from_text_is_refused(svd: Path) -> None:
    with pytest.raises(PresetError, match=r"the image model .* cannot be loaded"):
        load_image_model(str(svd), CPU)


def test_a_folder_is_known_by_its_weights(sdxl: Path) -> None:
    assert fetch_image_model(str(sdxl), CPU) == weights_digest(sdxl)


def test_a_missing_model_is_told_and_leaves_jobs_with_an_image_alone(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.WARNING):
        assert fetch_image_model(str(tmp_path / "nowhere"), CPU) == "not available"

    assert "so requests need an image" in caplog.text
