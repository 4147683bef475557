"""Preprocessing of the anchor frame for the image encoder."""

import pytest
import torch
from torch.nn import functional

from core.model.networks.picture_preprocessing import CLIP_MEAN, CLIP_STD, preprocess_picture


def prepared_without_smoothing(pictures: torch.Tensor) -> torch.Tensor:
    """Resized and normalised, nothing else."""
    resized = functional.interpolate(pictures, size=(224, 224), mode="bicubic", align_corners=True)
    return ((resized + 1) / 2 - torch.tensor(CLIP_MEAN).view(3, 1, 1)) / torch.tensor(CLIP_STD).view(3, 1, 1)


@pytest.mark.parametrize("size", [64, 224, 256])
def test_pictures_up_to_the_published_size_are_not_smoothed(size: int) -> None:
    pictures = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert torch.equal(preprocess_picture(pictures, 224), prepared_without_smoothing(pictures))


def test_a_fine_pattern_of_a_large_picture_becomes_its_mean_not_an_alias() -> None:
    stripes = torch.ones(1, 3, 896, 896)
    stripes[..., ::2] = -1

    grey = preprocess_picture(torch.zeros(1, 3, 224, 224), 224)

    assert (preprocess_picture(stripes, 224) - grey).abs().max() < 0.05
    assert (prepared_without_smoothing(stripes) - grey).abs().max() > 1


def test_smoothing_keeps_an_even_picture_even() -> None:
    pictures = torch.full((1, 3, 300, 500), 0.25)
    torch.testing.assert_close(preprocess_picture(pictures, 224), prepared_without_smoothing(pictures))
