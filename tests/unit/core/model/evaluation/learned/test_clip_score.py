"""CLIP scores equal a direct computation through transformers; what a reader must know is in the notes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from core.metrics.video.metric import VideoMetrics, measure
from core.model.evaluation.learned.clip_model import ClipModel, load_clip
from core.model.evaluation.learned.clip_score import ClipScore
from core.model.evaluation.learned.facts import LEARNED_FACTS, PREFIXES
from core.service.domain.engine import FramesTHWC
from core.service.domain.schema import PromptChange
from tests.unit.core.model.evaluation.learned.conftest import SIDE, random_video

PROMPT = "a red fox"
PROJECTION = "text_projection.weight"


def scored(clip: ClipModel, frames: FramesTHWC, prompt: str | None = PROMPT, **more: Any) -> VideoMetrics:
    return measure(frames, [ClipScore(clip, prompt, **more)])


def direct(folder: Path, frames: FramesTHWC, prompt: str = PROMPT) -> list[float]:
    """100 times the cosine of each frame, by CLIPModel's own logits."""
    network: Any = CLIPModel.from_pretrained(folder)
    words: Any = cast(Any, CLIPTokenizer).from_pretrained(folder)(prompt, return_tensors="pt")
    size = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    pictures: Any = cast(Any, CLIPImageProcessorPil)(**size)(images=list(frames), return_tensors="pt")
    with torch.inference_mode():
        output = network(**words, pixel_values=pictures.pixel_values)
    return (100 * output.logits_per_image[:, 0] / network.logit_scale.exp()).tolist()


def test_it_is_the_mean_cosine_of_transformers_own_model(clip: ClipModel, clip_folder: Path) -> None:
    frames = random_video(5)
    expected = direct(clip_folder, frames)
    assert np.ptp(expected) > 0.1, "the checkpoint tells frames apart"
    measured = scored(clip, frames)
    assert measured.values["clip_score"] == pytest.approx(np.mean(expected), abs=1e-5)
    assert list(measured.curves["clip_score"].values) == pytest.approx(expected, abs=1e-5)


def test_a_score_below_zero_is_not_clamped(clip: ClipModel, clip_folder: Path, tmp_path: Path) -> None:
    frames = random_video(2)
    folder = shutil.copytree(clip_folder, tmp_path / "opposite")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, PROJECTION: -weights[PROJECTION]}, folder / "model.safetensors", {"format": "pt"})
    score = scored(clip, frames).values["clip_score"]
    assert score is not None
    assert score > 1
    assert scored(load_clip(str(folder), "cpu"), frames).values["clip_score"] == pytest.approx(-score, abs=1e-5)


def test_prefix_means_are_of_the_first_frames(clip: ClipModel, clip_folder: Path) -> None:
    frames = random_video(150)
    expected = np.array(direct(clip_folder, frames))
    values = scored(clip, frames).values
    assert values["clip_score_120"] == pytest.approx(expected[:120].mean(), abs=1e-5)
    assert values["clip_score_140"] == pytest.approx(expected[:140].mean(), abs=1e-5)
    assert [values[f"clip_score_{frames}"] for frames in (160, 180, 200, 220)] == [None] * 4
    assert abs(expected[:120].mean() - expected[:140].mean()) > 1e-3, "the two differ"


def test_a_planted_drift_has_its_sign(clip: ClipModel, clip_folder: Path) -> None:
    ends = random_video(2)
    worst, best = ends[np.argsort(direct(clip_folder, ends))]
    shares = np.linspace(0, 1, 40)[:, None, None, None]
    away = (best * (1 - shares) + worst * shares).astype(np.uint8)
    slope = scored(clip, away).values["clip_slope"]
    assert slope is not None
    assert slope < 0
    assert scored(clip, away[::-1]).values["clip_slope"] == pytest.approx(-slope, rel=1e-4)


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_batches_do_not_change_the_result(clip: ClipModel, batch: int) -> None:
    frames = random_video(20)
    expected = scored(clip, frames).values
    measured = scored(clip, frames, batch=batch).values
    assert measured == {name: pytest.approx(value, abs=1e-4) for name, value in expected.items()}


def test_memory_holds_one_batch(clip: ClipModel, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []
    embed = clip.embed_frames

    def watched(prepared: Sequence[Tensor]) -> Tensor:
        held.append(len(prepared))
        return embed(prepared)

    monkeypatch.setattr(clip, "embed_frames", watched)
    scored(clip, random_video(50), batch=16)
    assert held == [16, 16, 16, 2]


def test_a_frozen_video_keeps_its_identity_and_another_does_not(clip: ClipModel) -> None:
    frozen = random_video(1).repeat(20, axis=0)
    values = scored(clip, frozen).values
    assert values["clip_identity"] == pytest.approx(1, abs=1e-6)
    assert values["clip_slope"] == pytest.approx(0, abs=1e-4)
    changed = scored(clip, random_video(20)).values["clip_identity"]
    assert changed is not None
    assert changed < 0.999


def test_the_anchor_itself_is_not_in_the_identity(clip: ClipModel) -> None:
    first, second = random_video(2)
    pair = scored(clip, np.stack([first, second])).values["clip_identity"]
    assert scored(clip, np.stack([first, second, second])).values["clip_identity"] == pytest.approx(pair, abs=1e-6)


def test_a_prompt_acts_from_its_frame_on(clip: ClipModel, clip_folder: Path) -> None:
    frames = random_video(6)
    changes = [PromptChange(start_frame=4, text="snow"), PromptChange(start_frame=2, text="rain")]
    expected = [
        *direct(clip_folder, frames[:2]),
        *direct(clip_folder, frames[2:4], "rain"),
        *direct(clip_folder, frames[4:], "snow"),
    ]
    measured = scored(clip, frames, changes=changes).curves["clip_score"].values
    assert list(measured) == pytest.approx(expected, abs=1e-5)


def test_without_a_prompt_only_the_identity_is_measured(clip: ClipModel) -> None:
    measured = scored(clip, random_video(3), prompt=None)
    assert {name for name, value in measured.values.items() if value is not None} == {"clip_identity"}
    assert set(measured.curves) == {"clip_identity"}
    assert "No CLIP score: the video has no prompt." in measured.notes


def test_one_frame_has_a_score_and_nothing_over_time(clip: ClipModel) -> None:
    measured = scored(clip, random_video(1))
    assert {name for name, value in measured.values.items() if value is not None} == {"clip_score"}
    assert "No slope of the CLIP score: it needs a video of two frames or more." in measured.notes
    assert "No CLIP-I to the anchor: it needs a video of two frames or more." in measured.notes


def test_no_frame_has_no_value(clip: ClipModel) -> None:
    measured = scored(clip, random_video(0))
    assert set(measured.values.values()) == {None}
    assert "No CLIP score: the video has no frames." in measured.notes
    assert "No CLIP-I to the anchor: it needs a video of two frames or more." in measured.notes


def test_another_size_within_a_video_is_refused(clip: ClipModel) -> None:
    metric = ClipScore(clip, PROMPT)
    metric.add(random_video(1, 20, 28)[0])
    with pytest.raises(ValueError, match="follows frames of 28x20"):
        metric.add(random_video(1, 28, 20)[0])


def test_a_prompt_that_is_cut_is_told(clip: ClipModel) -> None:
    cut = "The CLIP model reads the first 24 tokens of a prompt; the rest of a longer one is cut."
    assert cut not in scored(clip, random_video(2), prompt="a" * 22).notes
    assert cut in scored(clip, random_video(2), prompt="a" * 23).notes


def test_values_may_be_read_before_the_end(clip: ClipModel) -> None:
    frames = random_video(10)
    metric = ClipScore(clip, PROMPT)
    for frame in frames[:5]:
        metric.add(frame)
    assert metric.values()["clip_score"] == pytest.approx(scored(clip, frames[:5]).values["clip_score"], abs=1e-4)
    for frame in frames[5:]:
        metric.add(frame)
    assert metric.values()["clip_score"] == pytest.approx(scored(clip, frames).values["clip_score"], abs=1e-4)


def test_all_values_and_curves_have_facts(clip: ClipModel) -> None:
    measured = scored(clip, random_video(3))
    assert {name: curve.first for name, curve in measured.curves.items()} == {"clip_score": 0, "clip_identity": 1}
    assert {*measured.values, *measured.curves} <= set(LEARNED_FACTS)
    assert {f"clip_score_{frames}" for frames in PREFIXES} <= set(measured.values)
