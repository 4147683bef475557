"""Video Instruct-Pix2Pix as an engine: a chunk is 16 frames of the input video, edited by the prompt.

Frames depend on each other only through frame 0, whose edit is repeated in every chunk. So a chunk needs the request
and the input frames, and nothing of the chunks before.

Shapes: F frames, C latent channels, H, W latent rows and columns, P, R picture rows and columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.model.engines.instruct_pix2pix.sampling import EditConditions, EditGuidance, edit_latents
from core.model.pipelines.complete_spec import guidance_scale_of, num_steps_of
from core.model.pipelines.loading import Placement
from core.model.pipelines.placed_engine import PlacedEngine
from core.model.pipelines.stable_diffusion import TextReader, on_device
from core.model.sampling.device import DeviceTimer
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.noise import seeded
from core.model.sampling.vae import decode_frames, encode_unscaled, to_pictures, to_uint8
from core.service.domain.engine import (
    NO_INPUT_MEDIA,
    EngineChunk,
    EngineState,
    FramesTHWC,
    InputMedia,
    OnStep,
)
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.prompt_schedule import easing, prompts_of_window
from core.service.domain.schema import JobSpec

SEED = "seed"
"""Array of the state: the seed of all frames to come but frame 0, which keeps the request's."""


@dataclass(frozen=True)
class EditModels:
    """The networks. `unet` reads latents of the input frame beside the noisy ones, and frames read the first one."""

    unet: Any
    scheduler: Any
    vae: Any
    texts: TextReader
    placement: Placement


class InstructPix2PixEngine(PlacedEngine):
    """Edits 16 frames at a time. State: the seed."""

    def __init__(self, models: EditModels, fingerprint: str) -> None:
        super().__init__(models.placement.device, fingerprint)
        self._models = models

    def start(self, spec: JobSpec, inputs: InputMedia) -> EngineState:
        """The state before chunk 0."""
        del inputs
        return EngineState(0, {SEED: np.asarray([spec.seed], np.int64)})

    def reseeded(self, state: EngineState, seed: int) -> EngineState:
        """Later frames have other noise; frame 0, which they read, stays as it was edited first."""
        return EngineState(state.frames_done, {SEED: np.asarray([seed], np.int64)})

    @torch.inference_mode()
    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        """The chunk after `state`: up to 16 frames of `inputs.video`, edited; fewer only at the video's end.

        Raises what `on_step` and the video's reader raise, errors.PromptTooLong, and errors.NotFinite, naming chunk and
        stage, if a network returns NaN or infinity.
        """
        first, watch = state.frames_done, DeviceTimer()
        wanted = min(CHUNK_FRAMES, spec.length - first)
        if wanted <= 0:
            raise ValueError(f"all {spec.length} frames are done already")
        frames = watch.run("prepare", lambda: _input_frames(inputs, first))
        check = FiniteCheck(f"chunk {first // CHUNK_FRAMES}")
        conditions = watch.run("prepare", lambda: self._conditions(spec, first, frames, check))
        latents = watch.run("denoise", lambda: self._edited(spec, state, conditions, on_step))
        check.add("denoiser", latents)
        own = latents[1:] if first else latents
        edited = watch.run("decode", lambda: self._decoded(own, check))[:wanted]
        return EngineChunk(edited, EngineState(first + wanted, state.arrays), dict(watch.seconds))

    def _conditions(self, spec: JobSpec, first: int, frames: FramesTHWC, check: FiniteCheck) -> EditConditions:
        """Texts and latents of the input frames, computed once for all steps."""
        vae, placement = self._models.vae, self._models.placement
        with on_device(placement, vae):
            latents_CFHW = encode_unscaled(vae, to_pictures(frames).to(placement.device))
        check.add("encoder", latents_CFHW)
        text, negative = self._texts(spec, first, len(frames))
        return EditConditions(text, negative, latents_CFHW.transpose(0, 1))

    def _texts(self, spec: JobSpec, first: int, num_frames: int) -> tuple[Tensor, Tensor]:
        """States of the instruction, [1, L, D] or [F, L, D], and of the negative prompt [1, L, D].

        A chunk in which the prompt changes goes over to the new one; the frame 0 that it reads has the new one alone.
        """
        old, new = prompts_of_window(spec, first, first - CHUNK_FRAMES)
        texts = self._models.texts
        with on_device(self._models.placement, *texts.networks):
            negative, text = texts.negative(spec.negative_prompt), texts.prompt(new)
            if old != new:
                shares = torch.tensor([1.0, *easing(CHUNK_FRAMES)][:num_frames])
                text = texts.prompt(old).toward(text, shares)
        return text.states_BLD, negative.states_BLD

    def _edited(self, spec: JobSpec, state: EngineState, conditions: EditConditions, on_step: OnStep) -> Tensor:
        """Latents [F, C, H, W] of all frames of the batch. All frames share the noise, so that the edit stays one."""
        seeds = [spec.seed, *[int(state.arrays[SEED][0])] * (len(conditions.image_FCHW) - 1)]
        generators, models = [seeded(seed) for seed in seeds], self._models
        with on_device(models.placement, models.unet):
            return edit_latents(
                models.unet,
                models.scheduler,
                num_steps_of(spec),
                conditions,
                _guidance(spec),
                generators,
                on_step,
            )

    def _decoded(self, latents_FCHW: Tensor, check: FiniteCheck) -> FramesTHWC:
        with on_device(self._models.placement, self._models.vae):
            return to_uint8(decode_frames(self._models.vae, latents_FCHW.transpose(0, 1)), check)


def _guidance(spec: JobSpec) -> EditGuidance:
    return EditGuidance(guidance_scale_of(spec), float(spec.parameters["image_guidance_scale"]))


def _input_frames(inputs: InputMedia, first: int) -> FramesTHWC:
    """16 frames of the input video from `first` on, as far as there are any, after frame 0."""
    video = inputs.video
    if video is None:
        raise ValueError("there is no input video to edit")
    frames = video.read(first, min(CHUNK_FRAMES, video.num_frames - first))
    return np.concatenate([video.read(0, 1), frames]) if first else frames
