"""Recoloured scenes and instructions for them: what the editor of the synthetic world learns from.

An instruction names one object of a scene and its new colour, in one of several wordings.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from core.model.training.sprites.captions import all_words
from core.model.training.sprites.world import COLOURS, SHAPES, Scene, Sprite

_ANY = ("make it {new}", "turn it {new}", "change it to {new}", "change the colour to {new}", "make the object {new}")
"""For scenes of one object."""
_NAMED = (
    "make {thing} {new}",
    "turn {thing} {new}",
    "change {thing} to {new}",
    "change the colour of {thing} to {new}",
    "turn {thing} into a {new} {shape}",
)
NOTHING = ("leave it as it is", "change nothing", "leave the colour as it is")
"""Instructions after which the scene stays the same."""


def recoloured(scene: Scene, index: int, colour: str) -> Scene:
    """The scene with sprite `index` in another colour; all else is the same."""
    sprites = list(scene.sprites)
    sprites[index] = replace(sprites[index], colour=colour)
    return replace(scene, sprites=tuple(sprites))


def possible_colours(scene: Scene, index: int) -> tuple[str, ...]:
    """The colours that sprite `index` may have: two objects never have the same."""
    others = {sprite.colour for number, sprite in enumerate(scene.sprites) if number != index}
    return tuple(colour for colour in COLOURS if colour not in others)


def instruction(scene: Scene, index: int, colour: str, rng: np.random.Generator) -> str:
    """An instruction that gives sprite `index` of the scene this colour, its wording drawn from `rng`."""
    sprite = scene.sprites[index]
    wordings = _NAMED if len(scene.sprites) > 1 else (*_ANY, *_NAMED)
    wording = wordings[int(rng.integers(len(wordings)))]
    return wording.format(thing=_thing(scene, sprite, rng), new=colour, shape=sprite.shape)


def _thing(scene: Scene, sprite: Sprite, rng: np.random.Generator) -> str:
    """A noun phrase that means this sprite alone: by its shape where that is enough, or by its colour, too."""
    alone = sum(other.shape == sprite.shape for other in scene.sprites) == 1
    return f"the {sprite.shape}" if alone and rng.random() < 0.6 else f"the {sprite.colour} {sprite.shape}"


def essential_words() -> frozenset[str]:
    """Words that carry meaning; the others are filler words."""
    return frozenset({*SHAPES, *COLOURS, "leave", "nothing"})


def instruction_words() -> frozenset[str]:
    """Every word that an instruction can contain, and every word of captions."""
    texts = " ".join((*_ANY, *_NAMED, *NOTHING)).split()
    return frozenset({word for word in texts if "{" not in word}) | all_words()
