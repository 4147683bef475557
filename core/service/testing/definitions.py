"""The fake engine and refiner as registered definitions: a preset with `"engine": "fake"` runs without torch."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import FirstChunkSampling, Profile
from core.service.engines.capabilities import (
    ALL_ENGINE_FIELDS,
    Capabilities,
    PromptUse,
    SizeRule,
    VideoUse,
    WindowLengths,
)
from core.service.engines.definition import EngineDefinition
from core.service.engines.load_context import LoadContext
from core.service.engines.preset import Preset, ProfileDefaults
from core.service.engines.refiner import RefinerDefinition, RefinerPreset
from core.service.testing.engines import FakeEngine, FakeRefineEngine


class FakePreset(Preset):
    """preset.json of an engine `fake`."""

    steps: int = Field(default=4, ge=1, description="Steps of a chunk.")
    step_seconds: float = Field(default=0.0, ge=0, description="Duration of each step.")
    accepts_image: bool = False
    prompt_changes: bool = True
    endless: bool = True
    reseeds: bool = True
    video: VideoUse = "last_frames"
    control: tuple[str, ...] = ()
    size: SizeRule | None = None
    prompt: PromptUse = "required"
    length_of_input: bool = False
    needs_input: bool = False

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            fields=ALL_ENGINE_FIELDS,
            image=self.accepts_image,
            video=self.video,
            control=self.control,
            size=self.size,
            prompt=self.prompt,
            length_of_input=self.length_of_input,
            needs_input=self.needs_input,
            prompt_changes=self.prompt_changes,
            endless=self.endless,
            reseeds=self.reseeds,
            windows=WindowLengths(first=CHUNK_FRAMES, later=CHUNK_FRAMES),
        )

    @property
    def profile_defaults(self) -> Mapping[Profile, ProfileDefaults]:
        first_chunk = FirstChunkSampling(num_inference_steps=self.steps, guidance_scale=1.0)
        return {"fast": ProfileDefaults(guidance_scale=1.0, num_inference_steps=self.steps, first_chunk=first_chunk)}


class FakeRefinerPreset(RefinerPreset):
    """`refiner` block of kind `fake`."""

    step_seconds: float = Field(default=0.0, ge=0, description="Duration of each step.")


def _load_engine(context: LoadContext[FakePreset]) -> FakeEngine:
    preset = context.preset
    return FakeEngine(
        steps_per_chunk=preset.steps, step_seconds=preset.step_seconds, height=preset.height, width=preset.width
    )


def _load_refiner(context: LoadContext[FakeRefinerPreset]) -> FakeRefineEngine:
    return FakeRefineEngine(step_seconds=context.preset.step_seconds)


FAKE_ENGINE = EngineDefinition("fake", FakePreset, _load_engine)
FAKE_REFINER = RefinerDefinition("fake", FakeRefinerPreset, _load_refiner)
