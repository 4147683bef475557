"""Requests of the suite `images`: inputs and wanted frames differ in colours only, and prompts name what is wanted."""

import pytest

from core.model.evaluation.generation.image_requests import NUM_FRAMES, along_edges, edits, of_prompts
from core.model.evaluation.metrics.frame_reader import read_frame
from core.model.evaluation.metrics.likeness import likeness
from core.service.engines.preset import Preset


@pytest.fixture
def preset() -> Preset:
    return Preset(name="x", description="", engine="text2video_zero", height=64, width=64, fps=8, max_prompt_tokens=30)


def test_prompts_name_the_object_and_no_motion(preset: Preset) -> None:
    for wanted in of_prompts(preset, 5):
        (found,) = read_frame(wanted.frames[8])
        assert f"{found.colour} {found.shape}" in wanted.spec.prompt
        assert "moving" not in wanted.spec.prompt


def test_edges_come_from_a_clip_of_other_colours(preset: Preset) -> None:
    for wanted in along_edges(preset, 5):
        video = wanted.inputs.video
        assert video is not None
        assert (video.num_frames, video.height, video.width) == (NUM_FRAMES, 64, 64)
        figures = likeness(wanted.frames, video.read(0, NUM_FRAMES))
        assert figures.colours == 0
        assert figures.background < 1  # blurred outlines
        assert wanted.spec.control is not None


def test_one_object_is_edited(preset: Preset) -> None:
    for wanted in edits(preset, 5):
        video = wanted.inputs.video
        assert video is not None
        figures = likeness(wanted.frames, video.read(0, NUM_FRAMES))
        assert figures.colours == 0
        assert figures.background < 1  # blurred outlines
        assert wanted.spec.control is None
