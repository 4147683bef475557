"""Likeness of clips, told from rendered ones: the same, another colour, moved, and another background."""

from dataclasses import replace

import pytest

from core.model.evaluation.metrics.likeness import likeness
from core.model.training.sprites.example_clip import SCENE
from core.model.training.sprites.recolouring import recoloured
from core.model.training.sprites.rendering import render

WANTED = render(SCENE, 3)


def test_a_clip_is_like_itself() -> None:
    figures = likeness(WANTED, WANTED)
    assert (figures.colours, figures.shapes, figures.overlap) == (1, 1, 1)
    assert (figures.distance, figures.background) == (0, 0)


def test_another_colour_is_told() -> None:
    figures = likeness(WANTED, render(recoloured(SCENE, 0, "blue"), 3))
    assert (figures.colours, figures.overlap, figures.distance) == (0, 0, None)
    assert figures.background < 1  # blurred outlines


def test_a_moved_object_is_at_a_distance() -> None:
    moved = replace(SCENE, sprites=(replace(SCENE.sprites[0], x=SCENE.sprites[0].x + 6),))
    figures = likeness(WANTED, render(moved, 3))
    assert (figures.colours, figures.shapes) == (1, 1)
    assert figures.distance == pytest.approx(6, abs=0.2)
    assert 0.4 < figures.overlap < 0.8


def test_another_background_is_told() -> None:
    figures = likeness(WANTED, render(replace(SCENE, background="checkered"), 3))
    assert figures.colours == 1
    assert figures.background > 20
