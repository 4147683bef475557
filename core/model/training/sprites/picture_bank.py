"""A bank of single frames of the synthetic world, each in every colour of one of its objects, encoded once.

Image model, ControlNet and editor train on it: a frame with its caption, with its edges, or with the same frame in
another colour.

Shapes: K frames, V colours, C latent channels, H, W latent rows and columns, E bytes of a packed edge map.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from core.model.sampling.edges import canny_edges
from core.model.training.sprites import captions, world
from core.model.training.sprites.clip_bank import bank_key, cached_tensors
from core.model.training.sprites.encoding import frames_to_tensor, unscaled_latents
from core.model.training.sprites.motion import scene_from, sprite_positions
from core.model.training.sprites.recolouring import possible_colours, recoloured
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene

COLOURS = tuple(world.COLOURS)
_FRAMES = 200
_TRIES = 20
STILL, OPENING, LATER = "still", "opening", "later"


class PictureBank:
    """Scenes as of their frame 0, with unscaled latents float16 [K, V, C, H, W] and edges [K, V, E], by colour."""

    def __init__(self, scenes: list[world.Scene], edited: list[int], latents: Tensor, edges: Tensor) -> None:
        """Sprite `edited[i]` of scene i has every colour in turn."""
        self.scenes = scenes
        self.edited = edited
        self.latents_kvchw = latents
        self.edges_kve = edges

    def draw(self, rng: np.random.Generator) -> tuple[int, str]:
        """A frame of the bank and a colour that its edited sprite may have."""
        number = int(rng.integers(len(self.scenes)))
        colours = possible_colours(self.scenes[number], self.edited[number])
        return number, colours[int(rng.integers(len(colours)))]

    def scene(self, number: int, colour: str) -> world.Scene:
        """Scene `number` with its edited sprite in this colour."""
        return recoloured(self.scenes[number], self.edited[number], colour)

    def caption(self, number: int, colour: str, rng: np.random.Generator) -> str:
        """A caption of the frame, most often without motion; one with motion fits where the objects are."""
        scene, kind = self.scene(number, colour), kind_of(number)
        if kind == STILL or rng.random() < 0.5 * (kind == LATER):
            return captions.still_caption(scene, rng)
        return captions.caption(scene, rng, from_the_start=kind == OPENING)

    def latents(self, drawn: list[tuple[int, str]]) -> Tensor:
        """Unscaled latents [B, C, H, W] of frames in these colours."""
        return torch.stack([self.latents_kvchw[n, COLOURS.index(colour)].float() for n, colour in drawn])

    def edges(self, drawn: list[tuple[int, str]]) -> Tensor:
        """Edge maps [B, 3, 64, 64] of frames in these colours, 0 or 1."""
        packed = torch.stack([self.edges_kve[n, COLOURS.index(colour)] for n, colour in drawn]).numpy()
        bits = np.unpackbits(packed, axis=1).reshape(-1, 1, world.SIZE, world.SIZE)
        return torch.from_numpy(bits.repeat(3, axis=1)).float()


def kind_of(number: int) -> str:
    """Half of the frames show their objects whole; a quarter are openings of videos, a quarter any later moment."""
    return (STILL, OPENING, STILL, LATER)[number % 4]


def picture_scene(seed: int, number: int, two_sprites_share: float) -> tuple[world.Scene, int]:
    """Scene `number` as of the pictured frame, and which of its sprites is edited."""
    rng = np.random.default_rng((seed, 91, number))
    scene = sample_scene(rng, two_sprites_share=two_sprites_share)
    edited, kind = int(rng.integers(len(scene.sprites))), kind_of(number)
    if kind == OPENING:
        return scene, edited
    for _ in range(_TRIES):
        moved = scene_from(scene, int(rng.integers(_FRAMES)))
        if kind == LATER or _is_whole(moved):
            return moved, edited
    return scene_from(scene, 8), edited  # every straight mover crosses the middle about then


def _is_whole(scene: world.Scene) -> bool:
    """Whether no object crosses the border of the frame."""
    radii = [sprite.radius for sprite in scene.sprites]
    return all(
        radius <= min(at.x, at.y) and max(at.x, at.y) <= world.SIZE - radius
        for at, radius in zip(sprite_positions(scene, 0), radii, strict=True)
    )


def build_picture_bank(vae: nn.Module, seed: int, pictures: int, two_sprites_share: float, path: Path) -> PictureBank:
    """The bank of frames at the preset's size, cached in `path`."""
    drawn = [picture_scene(seed, number, two_sprites_share) for number in range(pictures)]
    key = bank_key(vae, seed, pictures, 1) | {"two_sprites_share": str(two_sprites_share), "kind": "pictures-2d"}
    content = cached_tensors(pictures, lambda number: _encoded(vae, *drawn[number]), key, path)
    return PictureBank([scene for scene, _ in drawn], [index for _, index in drawn], **content)


def _encoded(vae: nn.Module, scene: world.Scene, edited: int) -> dict[str, Tensor]:
    """Latents [V, C, H, W] and packed edges [V, E] of a frame in every colour."""
    frames = np.concatenate([render(recoloured(scene, edited, colour), 1) for colour in COLOURS])
    edges = np.packbits(canny_edges(frames).reshape(len(frames), -1) > 0, axis=1)
    return {
        "latents": unscaled_latents(vae, frames_to_tensor(frames)).half(),
        "edges": torch.from_numpy(edges),
    }
