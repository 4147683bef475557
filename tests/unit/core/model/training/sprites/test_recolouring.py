"""Instructions: they name one object and its new colour, in known words, and only the colour changes."""

from dataclasses import replace

import numpy as np
import pytest

from core.model.training.sprites.recolouring import (
    NOTHING,
    essential_words,
    instruction,
    instruction_words,
    possible_colours,
    recoloured,
)
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.sprites.word_tokenizer import UNKNOWN, build_tokenizer
from core.model.training.sprites.world import COLOURS, Scene


def scenes(count: int, two_sprites_share: float = 0.5) -> list[Scene]:
    return [sample_scene(np.random.default_rng(seed), two_sprites_share=two_sprites_share) for seed in range(count)]


def instructions(scene: Scene, index: int, colour: str, count: int = 40) -> set[str]:
    return {instruction(scene, index, colour, np.random.default_rng(seed)) for seed in range(count)}


def test_only_the_colour_of_one_sprite_changes() -> None:
    scene = scenes(1, two_sprites_share=1.0)[0]
    changed = recoloured(scene, 1, "blue")
    assert changed.sprites[1] == replace(scene.sprites[1], colour="blue")
    assert (changed.background, changed.sprites[0]) == (scene.background, scene.sprites[0])


def test_two_objects_never_have_the_same_colour() -> None:
    (scene,) = scenes(1, two_sprites_share=1.0)
    assert set(possible_colours(scene, 0)) == set(COLOURS) - {scene.sprites[1].colour}
    (alone,) = scenes(1, two_sprites_share=0.0)
    assert possible_colours(alone, 0) == tuple(COLOURS)


def test_an_instruction_has_many_wordings_in_known_words() -> None:
    tokenizer = build_tokenizer(instruction_words())
    for scene in scenes(20):
        texts = instructions(scene, 0, "green")
        assert len(texts) > 3
        assert all("green" in text for text in texts)
        assert not any(UNKNOWN in tokenizer.encode(text).tokens for text in (*texts, *NOTHING))


def test_an_instruction_for_one_of_two_objects_says_which() -> None:
    for scene in scenes(20, two_sprites_share=1.0):
        first, second = scene.sprites
        for text in instructions(scene, 1, "red"):
            assert f"{second.colour} {second.shape}" in text or (
                second.shape in text and first.shape != second.shape and first.shape not in text
            )


@pytest.mark.parametrize("text", NOTHING)
def test_words_that_tell_to_change_nothing_are_never_hidden(text: str) -> None:
    assert essential_words() & set(text.split())
