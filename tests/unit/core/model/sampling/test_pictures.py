"""Resizing images: no aliasing, no stretching, no change if the size fits."""

import numpy as np
import torch

from core.model.sampling.pictures import as_picture, crop_and_resize, crop_to_shape


def test_fine_checks_become_grey_instead_of_a_pattern() -> None:
    checks = (torch.arange(64).view(-1, 1) + torch.arange(64)) % 2 * torch.ones(1, 3, 64, 64)

    fitted = crop_and_resize(checks, 24, 24)

    assert (fitted - 0.5).abs().max() < 0.1


def test_shrinking_agrees_with_pillow() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)

    ours = crop_and_resize(as_picture(pixels), 20, 20)[0].permute(1, 2, 0).mul(255).numpy()

    pillow = np.asarray(Image.fromarray(pixels).resize((20, 20), Image.Resampling.BICUBIC))
    assert np.abs(ours - pillow).max() <= 1.0  # Pillow rounds to whole levels, twice


def test_the_middle_of_a_wide_picture_is_kept() -> None:
    ramp = torch.linspace(0, 1, 90).expand(2, 3, 30, 90)

    part = crop_to_shape(ramp, 64, 64)

    assert part.shape == (2, 3, 30, 30)
    assert torch.equal(part, ramp[..., 30:60])


def test_a_tall_picture_is_cut_above_and_below() -> None:
    assert crop_to_shape(torch.zeros(1, 3, 100, 40), 32, 64).shape == (1, 3, 20, 40)


def test_a_single_row_can_be_fitted() -> None:
    assert crop_and_resize(torch.ones(1, 3, 1, 200), 8, 8).shape == (1, 3, 8, 8)


def test_pictures_of_the_right_size_are_not_touched() -> None:
    pictures = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))

    assert crop_and_resize(pictures, 8, 8) is pictures or torch.equal(crop_and_resize(pictures, 8, 8), pictures)


def test_enlarging_stays_within_range() -> None:
    edges = torch.zeros(1, 3, 4, 4)
    edges[..., 2:] = 1

    fitted = crop_and_resize(edges, 32, 32)

    assert fitted.min() == 0
    assert fitted.max() == 1
