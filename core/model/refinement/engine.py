"""WindowRefiner: preview frames become refined ones, a window (streaming) or a step (lockstep) at a time.

Implements core.service.domain.refiner.RefineEngine. Frames are enlarged, encoded, padded to a size the network takes,
noised, denoised in windows (windows.py) and decoded; only what a window publishes is decoded. All randomness follows
from the request's seed. Knows nothing of files, queues or storage; what it needs comes loaded.

States hold, streaming: `trajectory` (clean predictions of the frames the next window shares) and lockstep: `x`, and
`last_clean` after the first step, both float32 on the CPU.

Shapes: C latent channels, F frames of a window, V frames of the video, H, W latent rows and columns, K windows, P, R
picture rows and columns, B guidance batch, L text tokens, D text width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor
from torch.nn import functional

from core.model.networks.base_network import UntouchedBase
from core.model.networks.encoders import TextReader
from core.model.refinement.blending import draw_cut
from core.model.refinement.noise import cut_generator, shared_noise
from core.model.refinement.schedule import refinement_schedule
from core.model.refinement.solver import rescaled_guidance
from core.model.refinement.unet import nearest_latent_size
from core.model.refinement.windows import (
    LockstepState,
    Refiner,
    Trajectory,
    refine_window,
    start_lockstep,
    step_lockstep,
)
from core.model.sampling.device import Stopwatch, device_name
from core.model.sampling.finite import FiniteCheck
from core.model.sampling.guidance import num_halves
from core.model.sampling.schedules import Prediction
from core.model.sampling.vae import (
    decode_frames,
    downsampling,
    encode_frames,
    frames_per_call,
    reconstructed,
    to_pictures,
    to_uint8,
)
from core.service.domain.engine import FramesTHWC, OnStep
from core.service.domain.frame_plan import (
    CHUNK_FRAMES,
    REFINEMENT_OVERLAP_FRAMES,
    first_shared_with_next,
    published_by,
    refinement_windows,
    within,
)
from core.service.domain.refiner import RefinedWindow, RefineEngine, RefineState
from core.service.domain.schema import JobSpec, RefineSpec


@dataclass(frozen=True)
class RefinerModels:
    """Everything with weights, in evaluation mode, on one device."""

    network: UntouchedBase
    vae: AutoencoderKL
    read_texts: TextReader


@dataclass(frozen=True)
class RefinerConfig:
    """What the network was trained for."""

    sigmas_T: Tensor
    """Its noise levels."""
    prediction: Prediction
    guidance_rescale: float
    vid2vid_resampling: bool
    windows_per_batch: int
    """Windows of a lockstep step that go through the network together."""
    prompt_suffix: str = ""
    """Follows every prompt."""


@dataclass(frozen=True)
class LatentVideo:
    """A request with its frames, taken apart: for measurements that refine the same latents in several ways."""

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
        self._laws = config
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        """What the bytes depend on beside the request and the frames."""
        return self._fingerprint

    @torch.inference_mode()
    def refine_window(self, spec: JobSpec, state: RefineState, frames: FramesTHWC, on_step: OnStep) -> RefinedWindow:
        """The window after those done; see the port. Raises NotFinite where a network gives other numbers."""
        windows = refinement_windows(spec.num_frames)
        window = windows[state.done]
        next_first, watch = first_shared_with_next(windows, state.done), Stopwatch()
        clean_1CFHW = watch.run("prepare", lambda: self._encode(frames, _asked(spec), self._device))
        before = _trajectory(state, window.first_frame, clean_1CFHW.device)
        refiner = self._refiner(spec, clean_1CFHW)
        latents, trajectory = watch.run(
            "denoise", lambda: refine_window(refiner, clean_1CFHW, window, before, next_first, on_step)
        )
        published = published_by(windows, state.done)
        check = _check_of(published)
        check.see("refinement", latents)
        check.see("refinement", trajectory.clean_S1CFHW)
        own = latents[:, :, within(window, published)]
        refined = watch.run("decode", lambda: self._decode(own, _asked(spec), check))
        is_last = next_first == window.end_frame
        return RefinedWindow(refined, _state_after(state, trajectory, is_last), dict(watch.seconds))

    @torch.inference_mode()
    def start_lockstep(self, spec: JobSpec, frames: FramesTHWC) -> RefineState:
        """The state before step 0 of the whole video, whose latents never are on the device all at once.

        Raises NotFinite, as does each step.
        """
        clean_1CVHW = self._encode(frames, _asked(spec), torch.device("cpu"))
        return _packed(start_lockstep(self._refiner(spec, clean_1CVHW), clean_1CVHW), "encoder")

    @torch.inference_mode()
    def step_lockstep(self, spec: JobSpec, state: RefineState, on_step: OnStep) -> RefineState:
        """One denoising step of all windows. The video's latents stay on the CPU; windows visit the device."""
        unpacked = _unpacked(state)
        refiner = self._refiner(spec, unpacked.x_1CVHW, lambda: on_step(state.done, _asked(spec).num_inference_steps))
        after = step_lockstep(refiner, unpacked, refinement_windows(spec.num_frames))
        return _packed(after, f"refinement step {state.done}")

    @torch.inference_mode()
    def finish_lockstep(self, spec: JobSpec, state: RefineState, frames: range) -> FramesTHWC:
        """Refined frames after the last step. Raises NotFinite."""
        latents = torch.from_numpy(state.arrays["x"][:, :, frames.start : frames.stop].copy())
        return self._decode(latents.to(self._device), _asked(spec), _check_of(frames))

    @torch.inference_mode()
    def in_latents(self, spec: JobSpec, frames: FramesTHWC) -> LatentVideo:
        """What refines this request's windows, its latents, and the way back to frames. Not part of the port."""
        clean_1CVHW = self._encode(frames, _asked(spec), self._device)
        return LatentVideo(self._refiner(spec, clean_1CVHW), clean_1CVHW, lambda x: self._decode(x, _asked(spec)))

    @torch.inference_mode()
    def reconstructed(self, frames: FramesTHWC) -> FramesTHWC:
        """Frames as the autoencoder shows them, of their own size: no preview is sharper. Not part of the port."""
        return reconstructed(self._models.vae, to_pictures(frames))

    @property
    def device(self) -> str:
        """Device of the networks, for people: "cpu", or the GPU's name."""
        return device_name(self._device)

    @property
    def _device(self) -> torch.device:
        return self._models.network.weight.device

    def _encode(self, frames_FPR3: FramesTHWC, asked: RefineSpec, home: torch.device) -> Tensor:
        """Preview frames -> latents [1, C, F, H, W] of the enlarged frames, padded to a size that the network takes.

        The mean of the autoencoder's posterior, not a sample as published: one source of randomness less, and the noise
        that follows is far stronger.
        """
        # A few frames at a time: all of a long video, enlarged, would not fit into memory.
        parts = np.array_split(frames_FPR3, -(-len(frames_FPR3) // frames_per_call(asked.height, asked.width)))
        pictures = (enlarged(part, asked.height, asked.width).to(self._device) for part in parts)
        latents_CFHW = torch.cat([encode_frames(self._models.vae, part).float().to(home) for part in pictures], dim=1)
        height, width = latents_CFHW.shape[-2:]
        rows, columns = self._padded_size(height, width)
        # Edge values on both sides: the picture stays in the middle, and no black bar is seen by attention.
        padding = (*_both_sides(columns - width), *_both_sides(rows - height))
        return functional.pad(latents_CFHW, padding, mode="replicate").unsqueeze(0)

    def _padded_size(self, height: int, width: int) -> tuple[int, int]:
        num_levels = len(self._models.network.unet.down_blocks)
        return nearest_latent_size(height, width, num_levels, vid2vid=self._laws.vid2vid_resampling)

    def _decode(self, latents_1CFHW: Tensor, asked: RefineSpec, check: FiniteCheck | None = None) -> FramesTHWC:
        """Frames at the asked size; the padding is cut off before decoding. Raises NotFinite, for `check` too."""
        factor = downsampling(self._models.vae)
        height, width = asked.height // factor, asked.width // factor
        top, left = ((padded - own) // 2 for padded, own in zip(latents_1CFHW.shape[-2:], (height, width), strict=True))
        own = latents_1CFHW[0, :, :, top : top + height, left : left + width]
        return to_uint8(decode_frames(self._models.vae, own), check)

    def _refiner(self, spec: JobSpec, clean_1CFHW: Tensor, before_batch: Callable[[], None] = lambda: None) -> Refiner:
        """What this request is refined with. `before_batch` is called before each call of the network."""
        asked = _asked(spec)
        _, channels, _, rows, columns = clean_1CFHW.shape

        def cut(step: int, window: int) -> int:
            return draw_cut(cut_generator(spec.seed, window, step), REFINEMENT_OVERLAP_FRAMES)

        return Refiner(
            predict=self._predictor(spec, before_batch),
            schedule=refinement_schedule(self._laws.sigmas_T, asked.strength, asked.num_inference_steps),
            noise=shared_noise(spec.seed, (channels, rows, columns)),
            cut=cut,
            prediction=self._laws.prediction,
        )

    def _predictor(self, spec: JobSpec, before_batch: Callable[[], None]) -> "_Predictor":
        states_BLD = self._models.read_texts([spec.negative_prompt, spec.prompt + self._laws.prompt_suffix])
        return _Predictor(self._models.network, states_BLD, _asked(spec).guidance_scale, self._laws, before_batch)


@dataclass(frozen=True)
class _Predictor:
    """Guided predictions of windows, a few at a time."""

    network: UntouchedBase
    states_BLD: Tensor
    """[unconditional, conditional]."""
    guidance_scale: float
    config: RefinerConfig
    before_batch: Callable[[], None]

    def __call__(self, windows: Sequence[Tensor], timestep: int) -> list[Tensor]:
        """Windows [1, C, F, H, W], all of one length, in the network's scale -> guided predictions."""
        size = self.config.windows_per_batch
        batches = [windows[first : first + size] for first in range(0, len(windows), size)]
        return [prediction for batch in batches for prediction in self._batch(batch, timestep)]

    def _batch(self, windows: Sequence[Tensor], timestep: int) -> list[Tensor]:
        """Both guidance halves of some windows in one call, and back where the windows came from."""
        self.before_batch()
        weight, home, halves = self.network.weight, windows[0].device, num_halves(self.guidance_scale)
        batch_KCFHW = torch.cat(list(windows)).to(device=weight.device, dtype=weight.dtype)
        states = self.states_BLD[-halves:].to(dtype=weight.dtype).repeat_interleave(len(windows), dim=0)
        moment = torch.tensor(timestep, device=weight.device)
        predicted = self.network.predict(batch_KCFHW, moment, states).float()
        if halves == 1:
            return [window.to(home) for window in predicted.split(1)]
        # Guidance is rescaled window by window: its deviation is a window's own.
        pairs = zip(*(half.split(1) for half in predicted.chunk(2)), strict=True)
        return [rescaled_guidance(u, c, self.guidance_scale, self.config.guidance_rescale).to(home) for u, c in pairs]


def _asked(spec: JobSpec) -> RefineSpec:
    assert spec.refine is not None, "a job without `refine` has no refinement tasks"
    return spec.refine


def enlarged(frames_FPR3: FramesTHWC, height: int, width: int) -> Tensor:
    """Preview frames -> pictures [F, 3, height, width] in [-1, 1], bicubic as published."""
    pictures_F3PR = to_pictures(np.ascontiguousarray(frames_FPR3))
    size = (height, width)
    larger = functional.interpolate(pictures_F3PR, size=size, mode="bicubic", align_corners=False, antialias=True)
    return larger.clamp(-1, 1)


def _check_of(published: range) -> FiniteCheck:
    """For errors the first chunk that is published is named."""
    return FiniteCheck(f"refined chunk {published.start // CHUNK_FRAMES}")


def _both_sides(missing: int) -> tuple[int, int]:
    return missing // 2, missing - missing // 2


def _trajectory(state: RefineState, first_frame: int, device: torch.device) -> Trajectory | None:
    """What the window before left; None for the first."""
    if state.done == 0:
        return None
    return Trajectory(first_frame, torch.from_numpy(state.arrays["trajectory"].copy()).to(device))


def _state_after(state: RefineState, trajectory: Trajectory, is_last: bool) -> RefineState:
    arrays = {} if is_last else {"trajectory": trajectory.clean_S1CFHW.float().cpu().contiguous().numpy()}
    return RefineState(state.done + 1, arrays)


def _packed(state: LockstepState, stage: str) -> RefineState:
    """The state's bytes-to-be. Raises NotFinite that names `stage`, which made it."""
    tensors = {"x": state.x_1CVHW, "last_clean": state.last_clean_1CVHW}
    floats = {name: tensor.float() for name, tensor in tensors.items() if tensor is not None}
    check = FiniteCheck("all refined chunks")
    for tensor in floats.values():
        check.see(stage, tensor)
    return RefineState(state.step, {name: check.bring(t).contiguous().numpy() for name, t in floats.items()})


def _unpacked(state: RefineState) -> LockstepState:
    tensors = {name: torch.from_numpy(array.copy()) for name, array in state.arrays.items()}
    return LockstepState(state.done, tensors["x"], tensors.get("last_clean"))
