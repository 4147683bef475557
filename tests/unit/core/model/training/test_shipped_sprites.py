"""The shipped `sprites` weights: they are small, share the vocabulary of their world, and follow the prompt.

Frames are read by arithmetic, without a network: only the object has coloured pixels.
"""

import colorsys
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer

from core.model.engines.streaming_t2v.engine import StreamingT2VEngine
from core.model.engines.streaming_t2v.loading import load_engine
from core.model.engines.streaming_t2v.preset import read_preset
from core.model.evaluation.generation.videos import chunks
from core.model.refinement.loading import load_refiner
from core.model.training.sprites import world
from core.model.training.sprites.word_tokenizer import UNKNOWN
from core.service.admission.catalog import default_spec
from core.service.admission.refine_request import refine_spec_of
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.refiner import RefineState

PRESET = Path(__file__).parents[5] / "core/model/presets/sprites"
HUES = {"red": 0, "yellow": 52, "green": 127, "blue": 231}
PROMPTS = (
    ("red", "left", "a red circle moving left over a striped background"),
    ("blue", "up", "a blue square moving up over a checkered background"),
)


@pytest.fixture(scope="module")
def engine() -> StreamingT2VEngine:
    return load_engine(PRESET, device="cpu", torch_threads=1)


@cache
def video(engine: StreamingT2VEngine, prompt: str, num_frames: int) -> FramesTHWC:
    return np.concatenate(list(chunks(engine, default_spec(read_preset(PRESET), prompt, num_frames, seed=1))))


def object_mask(frame: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Coloured pixels; backgrounds are grey."""
    return frame.max(axis=2).astype(int) - frame.min(axis=2) > 60


def colour_name(frame: NDArray[np.uint8]) -> str:
    red, green, blue = frame[object_mask(frame)].mean(axis=0) / 255
    hue = colorsys.rgb_to_hsv(red, green, blue)[0] * 360
    return min(HUES, key=lambda name: min(abs(hue - HUES[name]), 360 - abs(hue - HUES[name])))


def steps_taken(frames: FramesTHWC) -> NDArray[np.float64]:
    """Displacement of the object's centre from frame to frame on the torus, (x, y) in pixels, [T-1, 2]."""
    turn = 2 * np.pi / world.SIZE
    places = [np.nonzero(object_mask(frame)) for frame in frames]
    angles = np.array([[np.angle(np.exp(1j * turn * axis).mean()) for axis in (xs, ys)] for ys, xs in places])
    return np.angle(np.exp(1j * np.diff(angles, axis=0))) / turn


def test_preset_is_small_enough_for_a_checkout() -> None:
    assert sum(file.stat().st_size for file in PRESET.rglob("*") if file.is_file()) <= 25_000_000


@pytest.mark.parametrize("prompt", json.loads((PRESET / "preset.json").read_text())["example_prompts"])
def test_example_prompts_contain_only_known_words(prompt: str) -> None:
    shipped = Tokenizer.from_file(str(PRESET / "tokenizer" / "tokenizer.json"))
    assert UNKNOWN not in shipped.encode(prompt).tokens


@pytest.mark.parametrize(("colour", "motion", "prompt"), PROMPTS)
def test_first_chunk_shows_the_colour_and_motion_of_the_prompt(
    engine: StreamingT2VEngine, colour: str, motion: str, prompt: str
) -> None:
    frames = video(engine, prompt, 32)[:16]
    assert sum(colour_name(frame) == colour for frame in frames) >= 15
    assert float(steps_taken(frames).mean(axis=0) @ np.array(world.DIRECTIONS[motion])) > 1.0


@pytest.mark.parametrize(("colour", "motion", "prompt"), PROMPTS)
def test_later_windows_continue_the_same_object_and_motion(
    engine: StreamingT2VEngine, colour: str, motion: str, prompt: str
) -> None:
    frames = video(engine, prompt, 32)
    assert sum(colour_name(frame) == colour for frame in frames[16:]) >= 14
    steps = steps_taken(frames[15:])
    assert float(steps.mean(axis=0) @ np.array(world.DIRECTIONS[motion])) > 1.0
    assert float(np.abs(steps).max()) < 12, "the object jumps"


def test_refined_frames_show_the_same_scene_at_twice_the_size(engine: StreamingT2VEngine) -> None:
    prompt = PROMPTS[0][2]
    preview = video(engine, prompt, 32)
    preset = read_preset(PRESET)
    spec = default_spec(preset, prompt, 32, seed=1).model_copy(update={"refine": refine_spec_of(True, preset)})

    refiner = load_refiner(PRESET, device="cpu", torch_threads=1)
    refined = refiner.refine_window(spec, RefineState(), preview[:24], ignore_step).frames

    made_small = refined.reshape(len(refined), 64, 2, 64, 2, 3).mean(axis=(2, 4))
    assert float(np.abs(made_small - preview[: len(refined)]).mean()) < 8
    assert sum(colour_name(frame) == PROMPTS[0][0] for frame in refined) == len(refined)
