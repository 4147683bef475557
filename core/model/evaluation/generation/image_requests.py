"""Videos of the presets `sprites-zero` and `sprites-edit`, each with the frames that it should show."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.model.training.sprites import captions, world
from core.model.training.sprites.recolouring import instruction, possible_colours, recoloured
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene
from core.service.admission.catalog import Preset, default_spec
from core.service.domain.engine import NO_INPUT_MEDIA, Engine, FramesTHWC, InputMedia, ignore_step
from core.service.domain.schema import ControlSpec, JobSpec

_SEED = 2025
NUM_FRAMES = 16


@dataclass(frozen=True)
class Clip:
    """Rendered frames as an input video."""

    frames: FramesTHWC

    @property
    def num_frames(self) -> int:
        return len(self.frames)

    @property
    def height(self) -> int:
        return self.frames.shape[1]

    @property
    def width(self) -> int:
        return self.frames.shape[2]

    def read(self, start: int, count: int) -> FramesTHWC:
        return self.frames[start : start + count]


@dataclass(frozen=True)
class Wanted:
    """A request with its input, and what the result should be like."""

    spec: JobSpec
    inputs: InputMedia
    frames: FramesTHWC


def of_prompts(preset: Preset, count: int) -> Iterator[Wanted]:
    """Prompts of one object without motion. Where the object is, is left to the model."""
    for index in range(count):
        rng, scene = _scene(index, two_sprites_share=0.0)
        prompt = captions.still_caption(scene, rng)
        yield Wanted(_spec(preset, prompt, index), NO_INPUT_MEDIA, render(scene, NUM_FRAMES))


def along_edges(preset: Preset, count: int) -> Iterator[Wanted]:
    """Clips along the edges of others, with objects of other colours."""
    for index in range(count):
        rng, scene = _scene(index)
        wanted = scene
        for number in range(len(scene.sprites)):
            wanted = recoloured(wanted, number, _other_colour(wanted, number, rng))
        control = ControlSpec(type="canny", video="", scale=1.0, start=0.0, end=1.0)
        spec = _spec(preset, captions.still_caption(wanted, rng), index, control=control)
        yield Wanted(spec, _inputs(scene), render(wanted, NUM_FRAMES))


def edits(preset: Preset, count: int) -> Iterator[Wanted]:
    """Clips in which one object gets another colour."""
    for index in range(count):
        rng, scene = _scene(index)
        number = int(rng.integers(len(scene.sprites)))
        colour = _other_colour(scene, number, rng)
        spec = _spec(preset, instruction(scene, number, colour, rng), index)
        yield Wanted(spec, _inputs(scene), render(recoloured(scene, number, colour), NUM_FRAMES))


REQUESTS: Mapping[str, Callable[[Preset, int], Iterator[Wanted]]] = {
    "prompts": of_prompts,
    "edges": along_edges,
    "edits": edits,
}


def made(engine: Engine, wanted: Wanted) -> FramesTHWC:
    """The chunk that the engine makes of a request."""
    state = engine.start(wanted.spec, wanted.inputs)
    return engine.next_chunk(wanted.spec, state, ignore_step, wanted.inputs).frames


def _scene(index: int, two_sprites_share: float = world.TWO_SPRITES_SHARE) -> tuple[np.random.Generator, world.Scene]:
    rng = np.random.default_rng((_SEED, index))
    return rng, sample_scene(rng, two_sprites_share=two_sprites_share)


def _other_colour(scene: world.Scene, number: int, rng: np.random.Generator) -> str:
    others = [colour for colour in possible_colours(scene, number) if colour != scene.sprites[number].colour]
    return others[int(rng.integers(len(others)))]


def _spec(preset: Preset, prompt: str, index: int, **fields: Any) -> JobSpec:
    return default_spec(preset, prompt, NUM_FRAMES, _SEED + index).model_copy(update=fields)


def _inputs(scene: world.Scene) -> InputMedia:
    return InputMedia(video=Clip(render(scene, NUM_FRAMES)))
