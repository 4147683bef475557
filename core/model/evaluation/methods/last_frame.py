"""Last-frame image-to-video without training, on any preset's base.

The paper compares I2VGen-XL, SVD and SEINE, which were trained to begin with a picture (last_frame_trial.py). Where
only a text-to-video base is at hand, it is conditioned without training, by the rule of Video Diffusion Models (Ho et
al. 2022, arXiv 2204.03458, section 3.1): at every step frame 0 is replaced by the given frame with that step's noise
("replacement"), and the predictions of all other frames are moved so that the prediction of frame 0 comes nearer to the
given frame ("reconstruction guidance"). Replacement alone leaves the other frames unrelated to the first, as that paper
says, and here too. There is no classifier-free guidance in these clips: it pulls a clip to the prompt's own scene, away
from the frame, and SVD reads no text either.

Shapes: C latent channels, F frames, H, W latent rows and columns.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from core.model.evaluation.methods.base_model import BaseModel
from core.model.evaluation.methods.last_frame_clips import BORDERS, LastFrameClips
from core.model.evaluation.methods.method import MethodFacts
from core.model.sampling.noise import draw_frames_first, draw_video
from core.model.sampling.samplers import Denoiser, sample, split_prediction
from core.model.sampling.schedules import NoiseSchedule
from core.model.sampling.vae import encode_frames, to_pictures
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES

LAST_FRAME = MethodFacts(
    "last_frame",
    "last-frame image-to-video, untrained",
    "its last frame",
    "arXiv 2204.03458 section 3.1, without training, on the preset's base",
    BORDERS,
    "none",
)
_MIN_STEPS = 12
"""Guidance acts between steps: fewer leave a jump at the clip's beginning."""
GUIDANCE = 8.0
"""Weight of the reconstruction guidance. On one prompt of `sprites` the step into a clip was 2.5 times those inside it
with 4, and about as large as those with 8 and 16."""


class LastFrame(LastFrameClips):
    """Clips of the base UNet, whose frame 0 is held at the given one."""

    def __init__(self, base: BaseModel) -> None:
        constants = f"guidance {GUIDANCE:g}, at least {_MIN_STEPS} steps"
        super().__init__(LAST_FRAME, base, f"{constants}; {base.fingerprint}")
        plan = replace(base.sampling.plan, num_steps=max(_MIN_STEPS, base.sampling.plan.num_steps))
        unguided = replace(base.sampling, plan=plan, guidance_scale=1.0, guidance_interval=None)
        self._clips = replace(base, sampling=unguided)

    @torch.no_grad()  # not inference_mode: guidance needs gradients
    def _new_frames(self, prompt: str, last_frame: FramesTHWC, generator: torch.Generator) -> FramesTHWC:
        clips = self._clips
        shape, sampling = clips.latent_shape(CHUNK_FRAMES), clips.sampling
        noise = draw_video(generator, shape, clips.device)
        given = encode_frames(clips.models.vae, to_pictures(last_frame).to(clips.device)).unsqueeze(0).float()
        latents = sample(
            sampling.plan,
            beginning_with(given, noise[:, :, :1], clips.denoiser(prompt), sampling.schedule),
            noise,
            sampling.schedule,
            lambda: draw_frames_first(generator, shape, clips.device),
            ignore_step,
        )
        return clips.frames_of(latents[0])[1:]


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
