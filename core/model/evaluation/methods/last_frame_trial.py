"""Last-frame image-to-video as an ablation trial: trained to begin with a picture, with the budget of all trials.

It stands for the image-to-video models of the paper's comparison (I2VGen-XL, SVD, SEINE, DynamiCrafter-XL). After
Stable Video Diffusion (Blattmann et al. 2023, arXiv 2311.15127) every frame of a clip reads the latents of the given
frame (LastFrameEncoder); here the prompt is read, too. Clips are sampled as the windows of the other trials: steps,
classifier-free guidance and profile; but the given frame is one of the video, in eight bits, as image-to-video models
get it. No anchor.
"""

from __future__ import annotations

import torch

from core.model.engines.streaming_t2v.loading import profile_configs
from core.model.engines.streaming_t2v.sampling import SamplingConfig, sample_latents, window_denoiser
from core.model.evaluation.methods.base_model import BaseModel
from core.model.evaluation.methods.last_frame_clips import BORDERS, LastFrameClips
from core.model.evaluation.methods.method import MethodFacts
from core.model.evaluation.methods.trials import TrialFiles, load_trial
from core.model.sampling.vae import to_pictures
from core.model.training.ablation import LAST_FRAME
from core.model.training.samples import models_for
from core.service.domain.engine import FramesTHWC, ignore_step
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.schema import Profile

LAST_FRAME_TRIAL = MethodFacts(
    "last_frame_trial",
    "last-frame image-to-video, trial",
    "its last frame",
    f"ablation trial {LAST_FRAME.name} (after arXiv 2311.15127), trained by longtake evaluate",
    BORDERS,
    "a trial's",
)


class LastFrameTrial(LastFrameClips):
    """Clips of the trained network."""

    def __init__(self, base: BaseModel, sampling: SamplingConfig) -> None:
        """`base` with the trial's networks; clips are sampled by `sampling`."""
        super().__init__(LAST_FRAME_TRIAL, base, base.fingerprint)
        self._sampling = sampling

    @torch.inference_mode()
    def _new_frames(self, prompt: str, last_frame: FramesTHWC, generator: torch.Generator) -> FramesTHWC:
        base, sampling, network = self._base, self._sampling, self._base.models.network
        context = base.context(prompt, network, sampling)
        denoise = window_denoiser(network, context, to_pictures(last_frame).to(base.device), sampling)
        shape = base.latent_shape(CHUNK_FRAMES)
        latents = sample_latents(denoise, sampling, shape, base.device, generator, ignore_step)
        return base.frames_of(latents[0, :, len(last_frame) :])


def load_last_frame_trial(files: TrialFiles, profile: Profile) -> LastFrameTrial:
    """The trial's networks. Raises MethodError, which says what to run, if it is not there or not fully trained."""
    trial = load_trial(LAST_FRAME_TRIAL.name, LAST_FRAME, files)
    preset, models = trial.parts.preset, models_for(trial.parts, trial.unet, trial.memory)
    config = profile_configs(preset, trial.unet.device)[profile]
    base = BaseModel(preset, models, config.first_chunk, f"{trial.fingerprint}; profile {profile}")
    return LastFrameTrial(base, config.windows)
