"""Scores of a preset's own towers, under names of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.metrics.video.metric import VideoMetrics, measure
from core.model.evaluation.learned.facts import LEARNED_FACTS
from core.model.evaluation.learned.tower_score import OwnTower, OwnTowerScore, load_own_tower
from core.model.training.sprites.captions import caption
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene
from core.service.domain.engine import FramesTHWC
from core.service.domain.schema import PromptChange
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.helpers.random_preset import write_random_preset

RIGHT, WRONG = "a red circle moving right on a blue background", "a green square moving up on a black background"


@pytest.fixture(scope="module")
def sprites() -> OwnTower:
    return load_own_tower(SHIPPED_PRESETS_DIR / "sprites")


@pytest.fixture(scope="module")
def video() -> FramesTHWC:
    return render(sample_scene(np.random.default_rng(0)), 40)


def scored(own: OwnTower, frames: FramesTHWC, prompt: str | None, **more: list[PromptChange]) -> VideoMetrics:
    return measure(frames, [OwnTowerScore(own, prompt, **more)])


def test_the_score_is_the_mean_over_whole_chunks(sprites: OwnTower, video: FramesTHWC) -> None:
    likeness = [sprites.tower.text_likeness(video[begin : begin + 16], RIGHT) for begin in (0, 16)]
    measured = scored(sprites, video, RIGHT)
    assert measured.values["tower_score"] == pytest.approx(100 * np.mean(np.array(likeness, float)), abs=1e-4)
    difference = 100 * (float(likeness[1] or 0) - float(likeness[0] or 0))
    assert measured.values["tower_slope"] == pytest.approx(100 * difference / 16, abs=1e-3)
    assert "The own tower compares whole chunks: the last 8 frames are not in its score." in measured.notes


def test_the_towers_tell_prompts_apart(sprites: OwnTower) -> None:
    rng = np.random.default_rng(3)
    scenes = [sample_scene(rng) for _ in range(2)]
    (video, _), (own, other) = [render(scene, 16) for scene in scenes], [caption(scene, rng) for scene in scenes]
    right, wrong = (scored(sprites, video, text).values["tower_score"] for text in (own, other))
    assert right is not None
    assert wrong is not None
    assert right > wrong + 20


def test_identity_is_of_all_frames_but_the_first(sprites: OwnTower, video: FramesTHWC) -> None:
    embedded = sprites.tower.embed(video)
    expected = (embedded[1:] @ embedded[0]).mean()
    assert scored(sprites, video, None).values["tower_identity"] == pytest.approx(float(expected), abs=1e-5)
    frozen = scored(sprites, video[:1].repeat(20, axis=0), None)
    assert frozen.values["tower_identity"] == pytest.approx(1, abs=1e-5)
    assert "No score of the own tower: the video has no prompt." in frozen.notes


def test_a_chunk_is_compared_with_the_prompt_of_its_first_frame(sprites: OwnTower, video: FramesTHWC) -> None:
    changed = scored(sprites, video[:32], RIGHT, changes=[PromptChange(start_frame=16, text=WRONG)])
    both = [scored(sprites, video[:16], RIGHT), scored(sprites, video[16:32], WRONG)]
    means = [float(one.values["tower_score"] or 0) for one in both]
    assert changed.values["tower_score"] == pytest.approx(np.mean(means), abs=1e-4)


def test_values_may_be_read_within_a_chunk(sprites: OwnTower) -> None:
    scenes = [sample_scene(np.random.default_rng(seed)) for seed in (0, 5)]
    frames = np.concatenate([render(scene, 10) for scene in scenes])
    expected = scored(sprites, frames, RIGHT).values
    metric = OwnTowerScore(sprites, RIGHT)
    for frame in frames:
        metric.add(frame)
        metric.values()
    assert metric.values() == {name: pytest.approx(value, abs=1e-4) for name, value in expected.items()}
    assert float(expected["tower_identity"] or 0) < 0.95, "frames that are counted twice would show"


def test_fewer_frames_than_a_chunk(sprites: OwnTower, video: FramesTHWC) -> None:
    measured = scored(sprites, video[:15], RIGHT)
    assert measured.values["tower_score"] is None
    assert "No score of the own tower: it compares chunks of 16 frames." in measured.notes


@pytest.mark.parametrize(
    ("num_frames", "told"),
    [(0, ["score", "likeness"]), (1, ["score", "likeness"]), (15, ["score"]), (31, ["slope"]), (32, [])],
)
def test_every_value_that_is_missing_has_its_note(
    sprites: OwnTower, video: FramesTHWC, num_frames: int, told: list[str]
) -> None:
    notes = scored(sprites, video[:num_frames], RIGHT).notes
    assert [note.split()[1] for note in notes if note.startswith("No ")] == told


def test_another_size_within_a_video_is_refused(sprites: OwnTower, video: FramesTHWC) -> None:
    metric = OwnTowerScore(sprites, RIGHT)
    metric.add(video[0])
    with pytest.raises(ValueError, match="all frames of a video have one size"):
        metric.add(video[0][:-1])


def test_a_preset_without_heads_has_an_identity_only(tmp_path: Path, video: FramesTHWC) -> None:
    own = load_own_tower(write_random_preset(tmp_path / "toy"))
    measured = scored(own, video[:16], RIGHT)
    assert measured.values["tower_score"] is None
    assert measured.values["tower_identity"] is not None
    assert any("has no clip_heads.safetensors" in note for note in measured.notes)


def test_the_name_tells_other_weights(sprites: OwnTower, tmp_path: Path) -> None:
    folder = shutil.copytree(write_random_preset(tmp_path / "toy"), tmp_path / "sprites")
    other = load_own_tower(folder)
    assert sprites.name.startswith("own tower of sprites (SHA-256 ")
    assert other.name.startswith("own tower of sprites (SHA-256 ")
    assert other.name != sprites.name


def test_no_name_is_shared_with_clip(sprites: OwnTower, video: FramesTHWC) -> None:
    measured = scored(sprites, video, RIGHT)
    assert {name: curve.first for name, curve in measured.curves.items()} == {"tower_score": 0, "tower_identity": 1}
    names = {*measured.values, *measured.curves}
    assert names <= set(LEARNED_FACTS)
    assert all(name.startswith("tower_") for name in names)
