"""CogVideoXEngine: windows of 8 n + 1 frames, each of which goes on from the one before.

The state's arrays beside WindowEngine's: before the first window of a video from an image its `picture` (uint8, at the
video's size), before chunk 0 of a video that goes on from another its last 16 frames as `given_frames`. The newest
window's latents stay: the next one begins with its last frames, or its last one.

Shapes: C latent channels, F frames, H, W latent rows and columns, P, R picture rows and columns.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from core.model.engines.cogvideox.preset import CogVideoXPreset
from core.model.engines.cogvideox.windows import (
    Pipelines,
    Sampling,
    decode,
    from_image,
    from_text,
    from_video,
    use_tiles,
)
from core.model.pipelines.complete_spec import guidance_scale_of, num_steps_of
from core.model.pipelines.latents import to_array, to_tensor
from core.model.pipelines.window_engine import Arrays, Window, WindowEngine, WindowRequest
from core.model.sampling.device import DeviceTimer
from core.model.sampling.finite import clamped
from core.model.sampling.lru_cache import LruCache
from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    EngineChunk,
    EngineState,
    FrameHWC,
    FrameReader,
    FramesTHWC,
    InputMedia,
    OnStep,
)
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.prompt_schedule import prompt_at
from core.service.domain.schema import JobSpec
from core.service.media.crop import crop_and_resize

PICTURE, GIVEN_FRAMES = "picture", "given_frames"
_CACHED_TEXTS = 8

Texts = tuple[Tensor, Tensor | None]


class CogVideoXEngine(WindowEngine):
    """CogVideoX over loaded pipelines. Knows no files, queues or storage."""

    keeps_newest = True

    def __init__(self, pipelines: Pipelines, preset: CogVideoXPreset, device: torch.device, fingerprint: str) -> None:
        super().__init__(device, fingerprint, preset.windows)
        self._pipelines, self._preset = pipelines, preset
        self._texts: LruCache[tuple[str, str | None], Texts] = LruCache(_CACHED_TEXTS)

    def start_arrays(self, spec: JobSpec, inputs: InputMedia) -> Arrays:
        """The image, fitted, or the last frames of the video to go on from; nothing for text or a whole video.

        Raises ValueError if an image-to-video model has neither.
        """
        if not self._preset.takes_image:
            return {}
        if inputs.image is not None:
            return {PICTURE: crop_and_resize(Image.fromarray(inputs.image), *self._preset.picture_size(spec))}
        if inputs.frames is None:
            raise ValueError("an image-to-video model needs an image or the last frames of a video")
        return {GIVEN_FRAMES: inputs.frames}

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        """The chunk after `state`; of a video that goes on from another the first one is that one's end.

        Raises what `on_step` raises, and errors.NotFinite, naming the chunk.
        """
        if GIVEN_FRAMES in state.arrays:
            return _given_chunk(spec, state)
        return super().next_chunk(spec, state, on_step, inputs)

    def make_window(self, request: WindowRequest, on_step: OnStep) -> Window:
        """The next window. Raises what `on_step` raises, and errors.NotFinite."""
        latents = self._denoised(request, self._sampling(request, on_step))
        return Window(to_array(latents, request.name), {}, self.num_new_frames(request.first_frame))

    def decode(self, spec: JobSpec, latents: NDArray[Any]) -> Tensor:
        """Pictures [F, 3, P, R] in [0, 1] of all frames of a window; NaN where the output is not finite."""
        pipeline = self._pipelines.main
        self._use_tiles(spec)
        stored = to_tensor(latents, self._torch_device).to(pipeline.vae.dtype)
        return clamped(decode(pipeline, stored) * 0.5 + 0.5)

    def _denoised(self, request: WindowRequest, sampling: Sampling) -> Tensor:
        """The latents of the next window."""
        frames = self._preset.window_frames
        if self._preset.takes_image:
            return from_image(self._pipelines, sampling, frames, self._picture(request))
        if request.newest is not None:
            return self._overlapping(request, sampling, self._last_frames(request, self._preset.overlap_frames))
        if request.inputs.video is None:
            return from_text(self._pipelines, sampling, frames)
        return from_video(self._pipelines, sampling, _read(request.inputs.video, 0, frames), _strength(request.spec))

    def _overlapping(self, request: WindowRequest, sampling: Sampling, past: FramesTHWC) -> Tensor:
        """A window that begins with the frames `past`; then come the input video's, or others that are to be drawn."""
        num_new, video = self.num_new_frames(request.first_frame), request.inputs.video
        if video is None:
            new, strength = np.repeat(past[-1:], num_new, axis=0), self._preset.continuation_strength
        else:
            new, strength = _read(video, request.first_frame, num_new), _strength(request.spec)
        return from_video(self._pipelines, sampling, np.concatenate([past, new]), strength, len(past))

    def _picture(self, request: WindowRequest) -> FrameHWC:
        """The first frame of the next window."""
        if request.newest is None:
            return request.arrays[PICTURE]
        return self._last_frames(request, 1)[0]

    def _last_frames(self, request: WindowRequest, num_frames: int) -> FramesTHWC:
        """The last frames of the newest window, decoded from its latents."""
        assert request.newest is not None
        return self._decode(request.spec, request.newest, num_frames, request.name, DeviceTimer())

    def _sampling(self, request: WindowRequest, on_step: OnStep) -> Sampling:
        spec = request.spec
        self._use_tiles(spec)
        height, width = self._preset.picture_size(spec)
        return Sampling(
            texts=self._texts_of(spec, prompt_at(spec, request.first_frame)),
            height=height,
            width=width,
            num_inference_steps=num_steps_of(spec),
            guidance_scale=guidance_scale_of(spec),
            use_dynamic_cfg=self._preset.use_dynamic_cfg,
            generator=request.generator,
            on_step=on_step,
            name=request.name,
        )

    def _texts_of(self, spec: JobSpec, prompt: str) -> Texts:
        """States of the prompt and, with guidance, of the negative one. T5 reads a text once, not in each window."""
        negative = spec.negative_prompt if guidance_scale_of(spec) > 1 else None
        return self._texts.get((prompt, negative), lambda: self._encoded(prompt, negative))

    def _encoded(self, prompt: str, negative: str | None) -> Texts:
        pipeline = self._pipelines.main
        return cast(
            Texts,
            pipeline.encode_prompt(
                prompt,
                negative,
                do_classifier_free_guidance=negative is not None,
                max_sequence_length=pipeline.transformer.config.max_text_seq_length,
                device=self._torch_device,
            ),
        )

    def _use_tiles(self, spec: JobSpec) -> None:
        use_tiles(self._pipelines.main.vae, *self._preset.picture_size(spec), always=self._preset.vae_tiling)


def _given_chunk(spec: JobSpec, state: EngineState) -> EngineChunk:
    """The last frames of the input video, unchanged; the next window begins with the last of them."""
    frames: FramesTHWC = state.arrays[GIVEN_FRAMES][: min(CHUNK_FRAMES, spec.length)]
    others = {name: array for name, array in state.arrays.items() if name != GIVEN_FRAMES}
    after = EngineState(len(frames), {**others, PICTURE: frames[-1]})
    return EngineChunk(frames, after, DeviceTimer().seconds)


def _read(video: FrameReader, first: int, num_frames: int) -> FramesTHWC:
    """Frames of the input video from `first` on; where it has no more, its last one stands still."""
    there = min(num_frames, video.num_frames - first)
    frames = video.read(first, there)
    return np.concatenate([frames, np.repeat(frames[-1:], num_frames - there, axis=0)])


def _strength(spec: JobSpec) -> float:
    strength: float = spec.parameters["strength"]
    return strength
