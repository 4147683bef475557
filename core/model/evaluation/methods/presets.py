"""Presets of any engine as compared methods: what each can read of a given first chunk, it is given."""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

import torch

from core.metrics.video.seams import Borders
from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.evaluation.methods.method import (
    Method,
    MethodError,
    MethodFacts,
    MethodRequest,
    TakesFirstChunk,
    in_chunks,
)
from core.model.sampling.pictures import crop_and_resize
from core.model.sampling.vae import to_uint8
from core.service.admission.catalog import PresetFolder, default_spec
from core.service.admission.size import fits, nearest
from core.service.domain.engine import NO_INPUT_MEDIA, Engine, FramesTHWC, InputMedia, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import JobSpec, Profile
from core.service.engines.preset import Preset


def makes_videos(preset: Preset) -> bool:
    """Whether a preset makes a video from a prompt or an image. Some only change a given video."""
    return preset.capabilities.image or not preset.capabilities.needs_input


def facts_of_preset(preset: Preset) -> MethodFacts:
    """A preset's name, and what its engine reads of a first chunk. Raises MethodError if it only changes videos."""
    if not makes_videos(preset):
        raise MethodError(f"{preset.name} changes a given video and makes none", fix="leave it out")
    source = f"preset {preset.name}" if preset.card is None else preset.card.source
    return MethodFacts(preset.name, preset.name, taken_by(preset), source, borders_of(preset))


def borders_of(preset: Preset) -> Borders | None:
    """Where the windows of a preset's video begin, after a first chunk that it is given; None if they blend into one
    another."""
    windows = preset.capabilities.windows
    if windows is None:
        return None
    return Borders(windows.first if taken_by(preset) == "no" else CHUNK_FRAMES, windows.later)


def taken_by(preset: Preset) -> TakesFirstChunk:
    """What the preset's engine reads of a first chunk."""
    capabilities = preset.capabilities
    # CogVideoX's image model takes a whole video, too, but goes on from its last frame alone.
    if capabilities.image and not isinstance(preset, StreamingPreset):
        return "its last frame"
    return "all 16 frames" if capabilities.video == "last_frames" else "no"


def load_preset(folder: PresetFolder, facts: MethodFacts, profile: Profile) -> PresetMethod:
    """A preset's engine. Raises PresetError, ModelNotInstalled."""
    folder.require_installed()
    engine: Engine = folder.engine.load(folder.engine_context())
    return PresetMethod(facts, engine, folder.preset, profile)


class PresetMethod(Method):
    """An engine with a preset; requests have the preset's defaults."""

    def __init__(self, facts: MethodFacts, engine: Engine, preset: Preset, profile: Profile) -> None:
        """`profile` acts on presets that have profiles. Raises MethodError if such a preset lacks it."""
        self._has_profiles = "profile" in preset.capabilities.fields
        if self._has_profiles and profile not in preset.profile_defaults:
            known = ", ".join(preset.profile_defaults)
            raise MethodError(f"{preset.name} has no profile {profile!r}", fix=f"use one of: {known}")
        profiles = f"; profile {profile}" if self._has_profiles else ""
        super().__init__(facts, preset.fps, f"{engine.fingerprint}{profiles}")
        self._engine, self._preset = engine, preset
        self._profile: Profile = profile

    def _made(self, request: MethodRequest) -> Iterator[FramesTHWC]:
        """Raises PresetError of an engine that needs an image and has no image model."""
        if self._preset.capabilities.needs_input:
            raise MethodError(f"{self.facts.name} needs a first chunk to begin with", fix="give it one")
        return in_chunks(self._run(self._spec(request, request.num_frames), NO_INPUT_MEDIA), request.num_frames)

    def _continued(self, request: MethodRequest, first_chunk: FramesTHWC) -> Iterator[FramesTHWC]:
        height, width = first_chunk.shape[1:3]
        go_on = self._after_all if self.facts.takes_first_chunk == "all 16 frames" else self._after_last
        return in_chunks(go_on(request, first_chunk, height, width), request.num_frames)

    def _after_all(
        self, request: MethodRequest, first_chunk: FramesTHWC, height: int, width: int
    ) -> Iterator[FramesTHWC]:
        """The engine's own continuation of a video: its chunk 0 is the given one."""
        spec = self._sized(self._spec(request, request.num_frames), height, width)
        return self._run(spec, InputMedia(frames=first_chunk))

    def _after_last(
        self, request: MethodRequest, first_chunk: FramesTHWC, height: int, width: int
    ) -> Iterator[FramesTHWC]:
        """The given frames, then the engine's video from the last of them, whose frame 0 repeats it."""
        yield first_chunk
        if request.num_frames == len(first_chunk):
            return
        num_frames = max(CHUNK_FRAMES, request.num_frames - len(first_chunk) + 1)
        spec = self._near(self._spec(request, num_frames), height, width)
        repeated = 1
        for frames in self._run(spec, InputMedia(image=first_chunk[-1])):
            yield _resized(frames[repeated:], height, width)
            repeated = 0

    def _run(self, spec: JobSpec, inputs: InputMedia) -> Iterator[FramesTHWC]:
        state = self._engine.start(spec, inputs)
        while state.frames_done < spec.length:
            chunk = self._engine.next_chunk(spec, state, ignore_step)
            state = chunk.state
            yield chunk.frames

    def _spec(self, request: MethodRequest, num_frames: int) -> JobSpec:
        prompt = "" if self._preset.capabilities.prompt == "no" else request.prompt
        spec = default_spec(self._preset, prompt, num_frames, request.seed)
        if not self._has_profiles:
            return spec
        defaults = self._preset.profile_defaults[self._profile]
        return spec.model_copy(
            update={
                "profile": self._profile,
                "guidance_scale": defaults.guidance_scale,
                "num_inference_steps": defaults.num_inference_steps,
                "first_chunk": defaults.first_chunk,
            }
        )

    def _sized(self, spec: JobSpec, height: int, width: int) -> JobSpec:
        """The spec of a video of exactly this size. Raises ValueError if the preset cannot have it."""
        preset, rule = self._preset, self._preset.capabilities.size
        if (height, width) == (preset.height, preset.width):
            return spec
        if rule is None or not fits(rule, width, height):
            own = f"{preset.width}x{preset.height}"
            raise ValueError(f"{self.facts.name} goes on from frames of {own}, not {width}x{height}")
        return spec.model_copy(update={"height": height, "width": width})

    def _near(self, spec: JobSpec, height: int, width: int) -> JobSpec:
        """The spec of a video of about this proportion and the preset's own number of pixels, if it has sizes."""
        preset, rule = self._preset, self._preset.capabilities.size
        if rule is None:
            return spec
        scale = sqrt(preset.height * preset.width / (height * width))
        near_width, near_height = nearest(rule, round(width * scale), round(height * scale))
        return spec.model_copy(update={"height": near_height, "width": near_width})


def _resized(frames: FramesTHWC, height: int, width: int) -> FramesTHWC:
    """Frames cropped and resized; those of this size are unchanged."""
    if frames.shape[1:3] == (height, width):
        return frames
    pictures = torch.from_numpy(frames.copy()).permute(0, 3, 1, 2).float() / 255.0
    return to_uint8(crop_and_resize(pictures, height, width))
