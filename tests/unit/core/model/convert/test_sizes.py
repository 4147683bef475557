"""Sizes that shapes do not determine are as published, as far as a model's widths allow."""

from __future__ import annotations

import pytest

from core.model.convert.open_clip import TextSizes, VisualSizes
from core.model.convert.sizes import text_config, unet_config, vae_config, vision_config


@pytest.mark.parametrize(("width", "heads"), [(1024, 16), (192, 3), (200, 2), (12, 1)])
def test_text_heads_are_64_wide_or_divide_the_width(width: int, heads: int) -> None:
    assert text_config(TextSizes(width=width))["num_attention_heads"] == heads


@pytest.mark.parametrize(("width", "heads"), [(1280, 16), (160, 2), (250, 2), (32, 1)])
def test_vision_heads_are_80_wide_or_divide_the_width(width: int, heads: int) -> None:
    assert vision_config(VisualSizes(width=width))["num_attention_heads"] == heads


@pytest.mark.parametrize(("widths", "groups"), [((320, 640), 32), ((32, 48), 16), ((8, 16), 8)])
def test_norm_groups_are_32_or_divide_all_widths(widths: tuple[int, ...], groups: int) -> None:
    assert unet_config(widths, attention=(True, False))["norm_num_groups"] == groups
    assert vae_config(widths)["norm_num_groups"] == groups


def test_the_picture_size_follows_from_patches_and_positions() -> None:
    assert vision_config(VisualSizes())["image_size"] == 224
