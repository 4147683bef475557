"""The bank of frames in several colours: what is drawn fits its caption, its edges and its latents."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.model.sampling.edges import canny_edges
from core.model.training.sprites.encoding import frames_to_tensor, unscaled_latents
from core.model.training.sprites.motion import sprite_positions
from core.model.training.sprites.picture_bank import (
    STILL,
    PictureBank,
    build_picture_bank,
    kind_of,
    picture_scene,
)
from core.model.training.sprites.rendering import render
from core.model.training.sprites.world import COLOURS, SIZE
from core.model.training.stages.vae import sprites_vae


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> PictureBank:
    return build_picture_bank(vae(), 1, 8, 0.5, tmp_path_factory.mktemp("bank") / "pictures.safetensors")


def vae() -> torch.nn.Module:
    torch.manual_seed(0)
    return sprites_vae((8, 8, 8, 8)).eval()


@pytest.mark.parametrize("colour", COLOURS)
def test_latents_and_edges_are_those_of_the_recoloured_scene(bank: PictureBank, colour: str) -> None:
    frames = render(bank.scene(3, colour), 1)
    every = np.concatenate([render(bank.scene(3, one), 1) for one in COLOURS])
    expected = unscaled_latents(vae(), frames_to_tensor(every))[list(COLOURS).index(colour)]
    torch.testing.assert_close(bank.latents([(3, colour)])[0], expected, atol=2e-3, rtol=2e-3)
    edges = bank.edges([(3, colour)])[0]
    assert edges.shape == (3, SIZE, SIZE)
    assert np.array_equal(edges[2].numpy() * 255, canny_edges(frames)[0])
    assert edges.any()


def test_captions_name_the_drawn_colour(bank: PictureBank) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        number, colour = bank.draw(rng)
        sprite = bank.scene(number, colour).sprites[bank.edited[number]]
        assert sprite.colour == colour
        assert f"{colour} {sprite.shape}" in bank.caption(number, colour, rng)


def test_captions_without_motion_show_whole_objects() -> None:
    for number in (number for number in range(80) if kind_of(number) == STILL):
        scene, _ = picture_scene(1, number, 0.5)
        for sprite, at in zip(scene.sprites, sprite_positions(scene, 0), strict=True):
            assert 0.7 * sprite.radius < min(at.x, at.y)
            assert max(at.x, at.y) < SIZE - 0.7 * sprite.radius


def test_a_bank_is_encoded_once(tmp_path: Path) -> None:
    path = tmp_path / "pictures.safetensors"
    build_picture_bank(vae(), 1, 2, 0.5, path)
    written = path.stat().st_mtime_ns
    build_picture_bank(vae(), 1, 2, 0.5, path)
    assert path.stat().st_mtime_ns == written
