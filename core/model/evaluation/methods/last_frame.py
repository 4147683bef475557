"""Last-frame image-to-video, as image models are used for long video: each clip begins with the last frame before it.

The paper compares I2VGen-XL, SVD and SEINE, which were trained to begin with a picture. Where only a text-to-video base
is at hand, it is conditioned without training, by the rule of Video Diffusion Models (Ho et al. 2022, arXiv 2204.03458,
section 3.1): at every step frame 0 is replaced by the given frame with that step's noise ("replacement"), and the
predictions of all other frames are moved so that the prediction of frame 0 comes nearer to the given frame
("reconstruction guidance"). Replacement alone leaves the other frames unrelated to the first, as that paper says, and
here too. There is no classifier-free guidance in these clips: it pulls a clip to the prompt's own scene, away from the
frame, and SVD reads no text either.

A clip has 16 frames; its first repeats the past and is left out, so 15 are new. A clip knows nothing else of the past.
Memory is constant in the video's length.

Shapes: C latent channels, F frames, H, W latent rows and columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from core.metrics.video.seams import Borders
from core.model.evaluation.methods.base_model import BaseModel
from core.model.evaluation.methods.method import Method, MethodFacts, MethodRequest, in_chunks
from core.model.sampling.noise import draw_frames_first, draw_video, seeded_for
from core.model.sampling.samplers import Denoiser, sample, split_prediction
from core.model.sampling.schedules import NoiseSchedule
from core.model.sampling.vae import encode_frames, to_pictures
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES

LAST_FRAME = MethodFacts(
    "last_frame",
    "last-frame image-to-video",
    "its last frame",
    "arXiv 2204.03458 section 3.1, without training, on the preset's base",
    Borders(CHUNK_FRAMES, CHUNK_FRAMES - 1),
    "none",
)
_MIN_STEPS = 12
"""Guidance acts between steps: fewer leave a jump at the clip's beginning."""
GUIDANCE = 8.0
"""Weight of the reconstruction guidance. On one prompt of `sprites` the step into a clip was 2.5 times those inside it
with 4, and about as large as those with 8 and 16."""


class LastFrame(Method):
    """Clips of 16 frames from the base UNet, each of which begins with the last frame before it."""

    def __init__(self, base: BaseModel) -> None:
        constants = f"guidance {GUIDANCE:g}, at least {_MIN_STEPS} steps"
        super().__init__(LAST_FRAME, base.preset.fps, f"{constants}; {base.fingerprint}")
        self._base = base
        plan = replace(base.sampling.plan, num_steps=max(_MIN_STEPS, base.sampling.plan.num_steps))
        unguided = replace(base.sampling, plan=plan, guidance_scale=1.0, guidance_interval=None)
        self._clips = replace(base, sampling=unguided)

    def _made(self, request: MethodRequest) -> Iterator[FramesTHWC]:
        """Begins with the first chunk of StreamingT2V with this seed."""
        return self._continued(request, self._base.first_chunk(request.prompt, request.seed))

    def _continued(self, request: MethodRequest, first_chunk: FramesTHWC) -> Iterator[FramesTHWC]:
        size = (self._base.preset.height, self._base.preset.width)
        if first_chunk.shape[1:3] != size:
            raise ValueError(f"{self.facts.name} goes on from frames of {size}, not {first_chunk.shape[1:3]}")
        return in_chunks(self._pieces(request, first_chunk), request.num_frames)

    def _pieces(self, request: MethodRequest, first_chunk: FramesTHWC) -> Iterator[FramesTHWC]:
        """The first chunk, then 15 new frames at a time, without end."""
        yield first_chunk
        generator, last = seeded_for(request.seed, LAST_FRAME.name), first_chunk[-1:]
        while True:
            frames = self._clip(request.prompt, last, generator)
            yield frames[1:]
            last = frames[-1:]

    @torch.no_grad()  # not inference_mode: guidance needs gradients
    def _clip(self, prompt: str, first_frame: FramesTHWC, generator: torch.Generator) -> FramesTHWC:
        """A clip of 16 frames that begins with about `first_frame` [1, P, R, 3]."""
        clips = self._clips
        shape, sampling = clips.latent_shape(CHUNK_FRAMES), clips.sampling
        noise = draw_video(generator, shape, clips.device)
        given = encode_frames(clips.models.vae, to_pictures(first_frame).to(clips.device)).unsqueeze(0).float()
        latents = sample(
            sampling.plan,
            beginning_with(given, noise[:, :, :1], clips.denoiser(prompt), sampling.schedule),
            noise,
            sampling.schedule,
            lambda: draw_frames_first(generator, shape, clips.device),
            ignore_step,
        )
        return clips.frames_of(latents[0])


def beginning_with(
    given_1C1HW: Tensor, noise_1C1HW: Tensor, denoise: Denoiser, schedule: NoiseSchedule, weight: float = GUIDANCE
) -> Denoiser:
    """A denoiser of videos whose frame 0 is the given one, by replacement and reconstruction guidance.

    It needs gradients to be possible, so no inference mode.
    """

    def denoise_held(x_1CFHW: Tensor, timestep: int) -> Tensor:
        signal = schedule.signal_at(timestep)
        first = signal**0.5 * given_1C1HW + (1 - signal) ** 0.5 * noise_1C1HW
        held_1CFHW = torch.cat([first, x_1CFHW[:, :, 1:]], dim=2)
        with torch.enable_grad():
            noisy = held_1CFHW.detach().requires_grad_(True)
            clean, _ = split_prediction(schedule, noisy, denoise(noisy, timestep), signal)
            miss = (clean[:, :, :1] - given_1C1HW).square().sum()
            (gradient,) = torch.autograd.grad(miss, noisy)
        guided = clean.detach() - weight * signal**0.5 / 2 * gradient
        return _prediction_of(guided, held_1CFHW, schedule, signal)

    return denoise_held


def _prediction_of(clean: Tensor, x: Tensor, schedule: NoiseSchedule, signal: Tensor) -> Tensor:
    """The prediction of the schedule's kind that gives this clean sample: the inverse of `split_prediction`."""
    if schedule.prediction == "epsilon":
        return (x - signal**0.5 * clean) / (1 - signal) ** 0.5
    return (signal**0.5 * x - clean) / (1 - signal) ** 0.5
