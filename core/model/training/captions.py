"""Scenes in plain English: a small grammar with many wordings, and the words it can ever use.

Texture, size and exact place stay unsaid. Knows the world, no tokenizer.
"""

from __future__ import annotations

import numpy as np

from core.model.training.sprites import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, Scene, Sprite

LATER = "already"
"""The word that marks a clip which does not begin at frame 0."""

_PARTICIPLES = ("moving", "gliding", "travelling")
_FINITES = ("moves", "glides", "travels")
_PACE_WORDS: dict[str, tuple[str, ...]] = {"slow": ("slowly",), "normal": ("",), "quick": ("quickly", "fast")}
_STRAIGHT_WAYS: dict[str, tuple[str, ...]] = {
    "left": ("left", "to the left"),
    "right": ("right", "to the right"),
    "up": ("up",),
    "down": ("down",),
}
_DIAGONAL_WAYS = ("{} and {}", "diagonally {} {}", "{} {}")
_OTHERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
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
"""The sentence that has no verb of its own."""


def caption(scene: Scene, rng: np.random.Generator, *, from_the_start: bool = True) -> str:
    """Put the scene into words, the wording drawn from `rng`.

    A clip that begins somewhere in the middle is "already moving". Only a plain caption promises the entry of frame 0,
    and so says where the object is at any moment: that makes a motion word worth reading to a model that learns.
    """
    sentence = int(rng.integers(len(_SENTENCES)))
    finite = sentence != _NEEDS_PARTICIPLE and rng.random() < 0.3
    things = " and ".join(_thing(sprite, rng, finite, from_the_start) for sprite in scene.sprites)
    return _SENTENCES[sentence].format(things=things, background=scene.background)


def plain_caption(scene: Scene) -> str:
    """The scene in the most usual wording."""
    things = " and ".join(
        f"a {sprite.colour} {sprite.shape} {_joined(_plain_verb(sprite))}" for sprite in scene.sprites
    )
    return _SENTENCES[0].format(things=things, background=scene.background)


def _plain_verb(sprite: Sprite) -> tuple[str, ...]:
    pace = _PACE_WORDS[sprite.pace][0]
    if sprite.motion in DIRECTIONS:
        return (_PARTICIPLES[0], pace, " and ".join(sprite.motion.split()))
    return (_OTHERS[sprite.motion][0][0], pace)


def _thing(sprite: Sprite, rng: np.random.Generator, finite: bool, from_the_start: bool) -> str:
    """One sprite with what it does."""
    verb = _straight(sprite, rng, finite) if sprite.motion in DIRECTIONS else _other(sprite, rng, finite)
    marker = "" if from_the_start or sprite.motion == "standing" else LATER
    return _joined(("a", sprite.colour, sprite.shape, marker, verb))


def _straight(sprite: Sprite, rng: np.random.Generator, finite: bool) -> str:
    verb = _pick(rng, _FINITES if finite else _PARTICIPLES)
    words = sprite.motion.split()
    wordings = _STRAIGHT_WAYS[sprite.motion] if len(words) == 1 else _DIAGONAL_WAYS
    way = _pick(rng, wordings).format(*words)
    return _joined((verb, _pick(rng, _PACE_WORDS[sprite.pace]), way))


def _other(sprite: Sprite, rng: np.random.Generator, finite: bool) -> str:
    return _joined((_pick(rng, _OTHERS[sprite.motion][int(finite)]), _pick(rng, _PACE_WORDS[sprite.pace])))


def _pick(rng: np.random.Generator, wordings: tuple[str, ...]) -> str:
    return wordings[int(rng.integers(len(wordings)))]


def _joined(words: tuple[str, ...]) -> str:
    return " ".join(word for word in words if word)


def essential_words() -> frozenset[str]:
    """Words that carry meaning."""
    paces = {word for words in _PACE_WORDS.values() for word in words if word}
    ways = {word for direction in DIRECTIONS for word in direction.split()}
    others = {word for forms in _OTHERS.values() for form in (*forms[0], *forms[1]) for word in form.split()}
    return frozenset({LATER, *SHAPES, *COLOURS, *BACKGROUNDS, *paces, *ways, *(others - {"in", "around"})})


def all_words() -> frozenset[str]:
    """Every word that a caption can hold."""
    sentences = {word for text in _SENTENCES for word in text.replace(",", "").split() if "{" not in word}
    fillers = {"and", "diagonally", "to", "the", "a", "in", "around"}
    return essential_words() | sentences | fillers | set(_PARTICIPLES) | set(_FINITES)
