"""Captions of scenes: a small English grammar with many wordings, and its vocabulary.

Texture, size and exact position are never mentioned.
"""

from __future__ import annotations

import numpy as np

from core.model.training.sprites.world import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, Scene, Sprite

LATER = "already"
"""The word that marks a clip which does not start at frame 0 of its scene."""

_PARTICIPLES = ("moving", "gliding", "travelling")
_FINITES = ("moves", "glides", "travels")
_PACE_WORDS: dict[str, tuple[str, ...]] = {"slow": ("slowly",), "normal": ("",), "quick": ("quickly", "fast")}
_STRAIGHT_PHRASES: dict[str, tuple[str, ...]] = {
    "left": ("left", "to the left"),
    "right": ("right", "to the right"),
    "up": ("up",),
    "down": ("down",),
}
_DIAGONAL_PHRASES = ("{} and {}", "diagonally {} {}", "{} {}")
_OTHER_PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "circling": (("circling", "going around in circles"), ("circles", "goes around in circles")),
    "bouncing": (("bouncing",), ("bounces",)),
    "standing": (("standing still", "resting"), ("stands still", "rests")),
}
"""Motion -> participles, finite forms."""
_SENTENCES = (
    "{things} over a {background} background",
    "{things} on a {background} background",
    "{things}, {background} background",
    "a {background} background with {things}",
)
_NEEDS_PARTICIPLE = 3
"""Index of the sentence in which a finite verb does not fit."""


def caption(scene: Scene, rng: np.random.Generator, *, from_the_start: bool = True) -> str:
    """A caption of the scene, its wording drawn from `rng`.

    A clip that starts later than frame 0 is "already moving". Without that word a caption implies the start of the
    scene, and so determines where the object is in every frame: this gives the model a reason to learn motion words.
    """
    sentence = int(rng.integers(len(_SENTENCES)))
    finite = sentence != _NEEDS_PARTICIPLE and rng.random() < 0.3
    things = " and ".join(_thing(sprite, rng, finite, from_the_start) for sprite in scene.sprites)
    return _SENTENCES[sentence].format(things=things, background=scene.background)


def still_caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of one frame: objects and background, without motion; its wording drawn from `rng`."""
    things = " and ".join(f"a {sprite.colour} {sprite.shape}" for sprite in scene.sprites)
    return _pick(rng, _SENTENCES).format(things=things, background=scene.background)


def plain_caption(scene: Scene) -> str:
    """The scene in its most common wording; used as the evaluation prompt."""
    things = " and ".join(
        f"a {sprite.colour} {sprite.shape} {_joined(_plain_verb(sprite))}" for sprite in scene.sprites
    )
    return _SENTENCES[0].format(things=things, background=scene.background)


def _plain_verb(sprite: Sprite) -> tuple[str, ...]:
    pace = _PACE_WORDS[sprite.pace][0]
    if sprite.motion in DIRECTIONS:
        return (_PARTICIPLES[0], pace, " and ".join(sprite.motion.split()))
    return (_OTHER_PHRASES[sprite.motion][0][0], pace)


def _thing(sprite: Sprite, rng: np.random.Generator, finite: bool, from_the_start: bool) -> str:
    """Noun phrase of one sprite with its motion."""
    verb = _straight(sprite, rng, finite) if sprite.motion in DIRECTIONS else _other(sprite, rng, finite)
    marker = "" if from_the_start or sprite.motion == "standing" else LATER
    return _joined(("a", sprite.colour, sprite.shape, marker, verb))


def _straight(sprite: Sprite, rng: np.random.Generator, finite: bool) -> str:
    verb = _pick(rng, _FINITES if finite else _PARTICIPLES)
    words = sprite.motion.split()
    wordings = _STRAIGHT_PHRASES[sprite.motion] if len(words) == 1 else _DIAGONAL_PHRASES
    direction = _pick(rng, wordings).format(*words)
    return _joined((verb, _pick(rng, _PACE_WORDS[sprite.pace]), direction))


def _other(sprite: Sprite, rng: np.random.Generator, finite: bool) -> str:
    return _joined((_pick(rng, _OTHER_PHRASES[sprite.motion][int(finite)]), _pick(rng, _PACE_WORDS[sprite.pace])))


def _pick(rng: np.random.Generator, wordings: tuple[str, ...]) -> str:
    return wordings[int(rng.integers(len(wordings)))]


def _joined(words: tuple[str, ...]) -> str:
    return " ".join(word for word in words if word)


def essential_words() -> frozenset[str]:
    """Words that carry meaning; the others are filler words."""
    paces = {word for words in _PACE_WORDS.values() for word in words if word}
    directions = {word for direction in DIRECTIONS for word in direction.split()}
    others = {word for forms in _OTHER_PHRASES.values() for form in (*forms[0], *forms[1]) for word in form.split()}
    return frozenset({LATER, *SHAPES, *COLOURS, *BACKGROUNDS, *paces, *directions, *(others - {"in", "around"})})


def all_words() -> frozenset[str]:
    """Every word that a caption can contain."""
    sentences = {word for text in _SENTENCES for word in text.replace(",", "").split() if "{" not in word}
    fillers = {"and", "diagonally", "to", "the", "a", "in", "around"}
    return essential_words() | sentences | fillers | set(_PARTICIPLES) | set(_FINITES)
