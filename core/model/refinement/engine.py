"""WindowRefiner: refines preview frames, one window (streaming) or one step of all windows (lockstep) per call.

Implements core.service.domain.refiner.RefineEngine: frames are encoded (codec.py), noised, denoised in windows
(windows.py), and the published frames are decoded. All randomness derives from the job's seed.

State arrays, float32 on the CPU: `trajectory` for streaming (clean predictions of the whole window, because where the
next one begins depends on the video's length, which may change; states of earlier versions have only the frames that it
shares); `x` and, after the first step, `last_clean` for lockstep.

Shapes: C latent channels, F frames of a window, V frames of the video, H, W latent rows and columns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from core.model.networks.base_network import UntouchedBase
from core.model.networks.encoders import TextEncoder
from core.model.refinement.blending import draw_cut
from core.model.refinement.codec import RefinerCodec
from core.model.refinement.noise import cut_generator, shared_noise
from core.model.refinement.predictor import GuidedPredictor
from core.model.refinement.schedule import refinement_schedule
from core.model.refinement.windows import (
    LockstepState,
    Refiner,
    Trajectory,
    refine_window,
    start_lockstep,
    step_lockstep,
)
from core.model.sampling.device import DeviceTimer, device_name
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.schedules import Prediction
from core.model.sampling.vae import reconstructed, to_pictures
from core.service.domain.engine import FramesTHWC, OnStep
from core.service.domain.frame_plan import (
    CHUNK_FRAMES,
    REFINEMENT_OVERLAP_FRAMES,
    published_with,
    refinement_window,
    refinement_windows,
    unslid_end,
    within,
)
from core.service.domain.prompt_schedule import prompt_at
from core.service.domain.refiner import RefinedWindow, RefineEngine, RefineState
from core.service.domain.schema import JobSpec, RefineSpec


@dataclass(frozen=True)
class RefinerModels:
    """The refiner's networks, in evaluation mode, on one device."""

    network: UntouchedBase
    vae: AutoencoderKL
    encode_texts: TextEncoder


@dataclass(frozen=True)
class RefinerConfig:
    """How the network was trained and how it is run."""

    sigmas_T: Tensor
    """Noise levels of training [T], each the share of noise amplitude in (0, 1]."""
    prediction: Prediction
    guidance_rescale: float
    vid2vid_resampling: bool
    windows_per_batch: int
    """Windows per network call in a lockstep step."""
    prompt_suffix: str = ""
    """Appended to every prompt."""


@dataclass(frozen=True)
class LatentVideo:
    """A preview in latents, with what refines and decodes it: for comparing ways to refine the same latents."""

    refiner: Refiner
    clean_1CVHW: Tensor
    """Latents of the enlarged preview, on the refiner's device."""
    decode: Callable[[Tensor], FramesTHWC]
    """Latents [1, C, F, H, W] -> frames at the refined size."""


class WindowRefiner(RefineEngine):
    """A refiner network as the service's RefineEngine."""

    def __init__(self, models: RefinerModels, config: RefinerConfig, fingerprint: str) -> None:
        """`models` must be in evaluation mode."""
        self._models = models
        self._config = config
        self._codec = RefinerCodec(models.vae, len(models.network.unet.down_blocks), config.vid2vid_resampling)
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """Identifies weights, preset and machine: equal jobs and frames give equal bytes for equal fingerprints."""
        return self._fingerprint

    @torch.inference_mode()
    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        """Refine the window after `state.done`; see the port. Raises NotFinite."""
        window = refinement_window(state.done, spec.length)
        is_last, watch = window.end_frame == spec.length, DeviceTimer()
        clean_1CFHW = watch.run("prepare", lambda: self._encode(frames, spec, self._device))
        before = _trajectory(state, window.first_frame, clean_1CFHW.device)
        refiner = self._refiner(spec, clean_1CFHW, [prompt_at(spec, window.first_frame)])
        kept_from = window.end_frame if is_last else window.first_frame
        latents, trajectory = watch.run(
            "denoise", lambda: refine_window(refiner, clean_1CFHW, window, before, kept_from, on_step)
        )
        published = published_with(window, spec.length)
        check = _finite_check(published)
        check.add("refinement", latents)
        check.add("refinement", trajectory.clean_S1CFHW)
        own = latents[:, :, within(window, published)]
        refined = watch.run("decode", lambda: self._decode(own, spec, check))
        return RefinedWindow(refined, _state_after(state, trajectory, is_last), dict(watch.seconds))

    @torch.inference_mode()
    def start_lockstep(self, spec: JobSpec, frames: FramesTHWC) -> RefineState:
        """The state before step 0. The video's latents stay on the CPU. Raises NotFinite, as do the steps."""
        clean_1CVHW = self._encode(frames, spec, torch.device("cpu"))
        return _to_state(start_lockstep(self._refiner(spec, clean_1CVHW, [spec.prompt]), clean_1CVHW), "encoder")

    @torch.inference_mode()
    def step_lockstep(self, spec: JobSpec, state: RefineState, on_step: OnStep) -> RefineState:
        """One denoising step of all windows, which are moved to the device one batch at a time."""
        before, windows = _from_state(state), refinement_windows(spec.length)
        refiner = self._refiner(
            spec,
            before.x_1CVHW,
            [prompt_at(spec, window.first_frame) for window in windows],
            lambda: on_step(state.done, _refine_spec(spec).num_inference_steps),
        )
        after = step_lockstep(refiner, before, windows)
        return _to_state(after, f"refinement step {state.done}")

    @torch.inference_mode()
    def finish_lockstep(self, spec: JobSpec, state: RefineState, frames: range) -> FramesTHWC:
        """Decode `frames` after the last step. Raises NotFinite."""
        latents = torch.from_numpy(state.arrays["x"][:, :, frames.start : frames.stop].copy())
        return self._decode(latents.to(self._device), spec, _finite_check(frames))

    @torch.inference_mode()
    def encode_preview(self, spec: JobSpec, frames: FramesTHWC) -> LatentVideo:
        """The preview in latents, for evaluation. Not part of the port."""
        clean_1CVHW = self._encode(frames, spec, self._device)
        refiner = self._refiner(spec, clean_1CVHW, [spec.prompt])
        return LatentVideo(refiner, clean_1CVHW, lambda x: self._decode(x, spec))

    @torch.inference_mode()
    def reconstructed(self, frames: FramesTHWC) -> FramesTHWC:
        """Frames encoded and decoded at their own size, for evaluation. Not part of the port."""
        return reconstructed(self._models.vae, to_pictures(frames))

    @property
    def device(self) -> str:
        """Device of the networks, for display: "cpu", or the GPU's name."""
        return device_name(self._device)

    @property
    def _device(self) -> torch.device:
        return self._models.network.weight.device

    def _encode(self, frames: FramesTHWC, spec: JobSpec, latents_device: torch.device) -> Tensor:
        return self._codec.encode(frames, _refine_spec(spec), self._device, latents_device)

    def _decode(self, latents_1CFHW: Tensor, spec: JobSpec, check: FiniteCheck | None = None) -> FramesTHWC:
        return self._codec.decode(latents_1CFHW, _refine_spec(spec), check)

    def _refiner(
        self,
        spec: JobSpec,
        clean_1CFHW: Tensor,
        prompts: Sequence[str],
        before_batch: Callable[[], None] = lambda: None,
    ) -> Refiner:
        """Network, schedule and random noise for a job. `prompts`: one of each window, or one for all. `before_batch`
        is called before each network call."""
        refine = _refine_spec(spec)
        _, channels, _, rows, columns = clean_1CFHW.shape

        def cut(step: int, window: int) -> int:
            return draw_cut(cut_generator(spec.seed, window, step), REFINEMENT_OVERLAP_FRAMES)

        return Refiner(
            predict=self._predictor(spec, prompts, before_batch),
            schedule=refinement_schedule(self._config.sigmas_T, refine.strength, refine.num_inference_steps),
            noise=shared_noise(spec.seed, (channels, rows, columns)),
            cut=cut,
            prediction=self._config.prediction,
        )

    def _predictor(self, spec: JobSpec, prompts: Sequence[str], before_batch: Callable[[], None]) -> GuidedPredictor:
        negative, suffix, encode = spec.negative_prompt, self._config.prompt_suffix, self._models.encode_texts
        states = {each: encode([negative, each + suffix]) for each in dict.fromkeys(prompts)}
        return GuidedPredictor(
            network=self._models.network,
            states_of_windows=[states[each] for each in prompts],
            guidance_scale=_refine_spec(spec).guidance_scale,
            guidance_rescale=self._config.guidance_rescale,
            windows_per_batch=self._config.windows_per_batch,
            before_batch=before_batch,
        )


def _refine_spec(spec: JobSpec) -> RefineSpec:
    assert spec.refine is not None, "a job without `refine` has no refinement tasks"
    return spec.refine


def _finite_check(published: range) -> FiniteCheck:
    """A check whose errors name the chunk that `published` starts with."""
    return FiniteCheck(f"refined chunk {published.start // CHUNK_FRAMES}")


def _trajectory(state: RefineState, first_frame: int, device: torch.device) -> Trajectory | None:
    """The trajectory of the previous window from `first_frame` on; None for the first window."""
    if state.done == 0:
        return None
    stored = torch.from_numpy(state.arrays["trajectory"].copy()).to(device)
    return Trajectory(unslid_end(state.done - 1) - stored.shape[3], stored).from_frame(first_frame)


def _state_after(state: RefineState, trajectory: Trajectory, is_last: bool) -> RefineState:
    arrays = {} if is_last else {"trajectory": trajectory.clean_S1CFHW.float().cpu().contiguous().numpy()}
    return RefineState(state.done + 1, arrays)


def _to_state(state: LockstepState, stage: str) -> RefineState:
    """The state to store. Raises NotFinite, naming `stage`."""
    tensors = {"x": state.x_1CVHW, "last_clean": state.last_clean_1CVHW}
    floats = {name: tensor.float() for name, tensor in tensors.items() if tensor is not None}
    check = FiniteCheck("all refined chunks")
    for tensor in floats.values():
        check.add(stage, tensor)
    return RefineState(state.step, {name: check.to_cpu(t).contiguous().numpy() for name, t in floats.items()})


def _from_state(state: RefineState) -> LockstepState:
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state.arrays.items()}
    return LockstepState(state.done, tensors["x"], tensors.get("last_clean"))
