"""The shipped `sprites-zero` and `sprites-edit`: small, and they draw, follow and recolour what they are told to."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from core.model.evaluation.generation.image_requests import Clip
from core.model.evaluation.metrics.frame_reader import colour_masks, read_frame
from core.model.evaluation.metrics.likeness import likeness
from core.model.evaluation.suites.images import EDIT, ZERO, Loaded, load
from core.model.training.image_export import edit_config, zero_config
from core.model.training.sprites.example_clip import SCENE, example_clip
from core.model.training.sprites.recolouring import instruction_words, recoloured
from core.model.training.sprites.rendering import render
from core.model.training.sprites.word_tokenizer import build_tokenizer
from core.model.training.sprites.world import COLOURS
from core.service.admission.catalog import default_spec
from core.service.domain.engine import NO_INPUT_MEDIA, FramesTHWC, InputMedia, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import ControlSpec

PRESETS = Path(__file__).parents[5] / "core/model/presets"
FRAMES = CHUNK_FRAMES + 1
"""A chunk and one frame, which is edited or drawn beside frame 0."""


@cache
def model(name: str) -> Loaded:
    return load(PRESETS / name, threads=1)


def frames_of(name: str, prompt: str, num_frames: int, inputs: InputMedia, **fields: Any) -> FramesTHWC:
    """As many frames, chunk by chunk."""
    loaded = model(name)
    spec = default_spec(loaded.preset, prompt, num_frames, seed=1).model_copy(update=fields)
    chunks, state = list[FramesTHWC](), loaded.engine.start(spec, inputs)
    while state.frames_done < num_frames:
        chunk = loaded.engine.next_chunk(spec, state, ignore_step, inputs)
        chunks, state = [*chunks, chunk.frames], chunk.state
    return np.concatenate(chunks)


def example() -> InputMedia:
    return InputMedia(video=Clip(example_clip(FRAMES)))


def assert_a_blue_square(made: FramesTHWC) -> None:
    """Where the example's red one is, before the same background; in the first chunk and in the one after."""
    wanted = render(recoloured(SCENE, 0, "blue"), FRAMES)
    for chunk in (slice(0, CHUNK_FRAMES), slice(CHUNK_FRAMES, FRAMES)):
        figures = likeness(wanted[chunk], made[chunk])
        assert figures.colours == 1
        assert figures.shapes > 0.8
        assert figures.overlap > 0.8
        assert figures.distance is not None
        assert figures.distance < 2
        assert figures.background < 1


def test_both_presets_weigh_at_most_12_mb() -> None:
    files = [file for name in (ZERO, EDIT) for file in (PRESETS / name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 12e6


@pytest.mark.parametrize("prompt", ["a red circle on a plain background", "a green triangle on a checkered background"])
def test_a_picture_shows_what_the_prompt_says(prompt: str) -> None:
    (found,) = read_frame(frames_of(ZERO, prompt, 1, NO_INPUT_MEDIA)[0])
    assert [found.colour, found.shape] == prompt.split()[1:3]


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96)])
def test_a_picture_of_another_size_shows_one_object_of_the_prompts_colour(width: int, height: int) -> None:
    size = {"width": width, "height": height}
    (frame,) = frames_of(ZERO, "a red circle on a plain background", 1, NO_INPUT_MEDIA, **size)
    assert frame.shape == (height, width, 3)
    areas = {colour: mask.sum() for colour, mask in zip(COLOURS, colour_masks(frame), strict=True)}
    assert 190 <= areas.pop("red") <= 1200
    assert max(areas.values()) < 20


def test_their_preset_files_are_those_that_training_writes() -> None:
    for name, config in ((ZERO, zero_config("sprites")), (EDIT, edit_config("sprites"))):
        assert json.loads((PRESETS / name / "preset.json").read_text()) == config


def test_the_shape_follows_the_edges_of_the_input_in_another_colour() -> None:
    edges = ControlSpec(type="canny", video="", scale=1.0, start=0.0, end=1.0)
    made = frames_of(ZERO, "a blue square on a dotted background", FRAMES, example(), control=edges)
    assert_a_blue_square(made)


def test_make_it_blue_recolours_the_square_and_leaves_the_background() -> None:
    made = frames_of(EDIT, "make it blue", FRAMES, example())
    assert_a_blue_square(made)


def test_the_tokenizer_of_the_editor_is_the_one_of_training() -> None:
    shipped = Tokenizer.from_file(str(PRESETS / EDIT / "tokenizer" / "tokenizer.json"))
    assert shipped.get_vocab() == build_tokenizer(instruction_words()).get_vocab()
