"""Captions: many wordings, each naming what the scene shows."""

from dataclasses import replace

import numpy as np
import pytest

from core.model.training.sprites import captions, world
from core.model.training.sprites.scene_sampling import sample_scene


def scenes(count: int) -> list[world.Scene]:
    return [sample_scene(np.random.default_rng(seed)) for seed in range(count)]


def wordings(scene: world.Scene, count: int = 40) -> set[str]:
    return {captions.caption(scene, np.random.default_rng(seed)) for seed in range(count)}


def test_the_same_generator_state_gives_the_same_wording() -> None:
    (scene,) = scenes(1)
    first, second = (captions.caption(scene, np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_a_scene_can_be_worded_in_many_ways() -> None:
    assert all(len(wordings(scene)) > 5 for scene in scenes(10))


def test_every_wording_names_what_the_scene_shows() -> None:
    for scene in scenes(30):
        for text in wordings(scene, 10):
            assert scene.background in text
            assert all(f"{sprite.colour} {sprite.shape}" in text for sprite in scene.sprites)


def test_only_later_clips_are_already_moving() -> None:
    for scene in scenes(30):
        assert captions.LATER not in " ".join(wordings(scene, 10))
        later = captions.caption(scene, np.random.default_rng(0), from_the_start=False)
        moving = [sprite for sprite in scene.sprites if sprite.motion != "standing"]
        assert later.count(captions.LATER) == len(moving)


def test_different_motions_never_share_a_caption() -> None:
    scene = next(scene for scene in scenes(50) if len(scene.sprites) == 1)
    motion_of: dict[str, str] = {}
    for motion in world.MOTIONS:
        sprite = replace(scene.sprites[0], motion=motion, pace="normal")
        for text in wordings(world.Scene(scene.background, (sprite,))):
            assert motion_of.setdefault(text, motion) == motion


@pytest.mark.parametrize(
    ("motion", "pace", "phrase"),
    [
        ("up left", "slow", "moving slowly up and left"),
        ("right", "normal", "moving right"),
        ("circling", "quick", "circling quickly"),
        ("standing", "normal", "standing still"),
    ],
)
def test_plain_captions_use_the_most_common_words(motion: str, pace: str, phrase: str) -> None:
    sprite = replace(scenes(1)[0].sprites[0], motion=motion, pace=pace)
    text = captions.plain_caption(world.Scene("dotted", (sprite,)))
    assert text == f"a {sprite.colour} {sprite.shape} {phrase} over a dotted background"


def test_every_word_used_is_in_the_list_and_every_listed_word_is_used() -> None:
    texts = [
        captions.caption(scene, np.random.default_rng(index), from_the_start=index % 2 == 0)
        for index, scene in enumerate(scenes(1500))
    ]
    used = {word for text in texts for word in text.replace(",", "").split()}
    assert used == captions.all_words()
    assert captions.essential_words() <= captions.all_words()
