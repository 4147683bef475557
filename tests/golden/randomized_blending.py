"""Stem `randomized_blending`: the refiner's solver over overlapping windows with a formula instead of the network.

Draws and cuts are the recorded ones.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from core.model.refinement.noise import START
from core.model.refinement.schedule import RefinementSchedule, refinement_schedule, vid2vid_sigmas
from core.model.refinement.solver import noised, rescaled_guidance
from core.model.refinement.windows import LockstepState, Refiner, step_lockstep
from core.service.domain.frame_plan import RefinementWindow
from tests.golden.folder import GoldenError
from tests.golden.report import Finding
from tests.golden.stem import Stem

_NUMBER = r"([+-]?[\d.]+)"
_FORMULA = re.compile(
    rf"tanh\({_NUMBER}\*x \+ {_NUMBER}\*mean over the frames of the CHUNK of x\) \* \({_NUMBER} \+ {_NUMBER}\*t\)"
    rf" \+ {_NUMBER}\*cos\(f\) \+ y,.*y = {_NUMBER} for the conditional and {_NUMBER} for the unconditional"
)


@dataclass(frozen=True)
class FormulaNetwork:
    """The sidecar's substitute for the network, guided."""

    numbers: tuple[float, ...]
    guide_scale: float
    guide_rescale: float

    def __call__(self, parts: Sequence[Tensor], timestep: int) -> list[Tensor]:
        """Guided v of every window."""
        return [self._guided(x, timestep) for x in parts]

    def _guided(self, x: Tensor, timestep: int) -> Tensor:
        conditional, unconditional = (self._v(x, timestep, text) for text in self.numbers[5:])
        return rescaled_guidance(unconditional, conditional, self.guide_scale, self.guide_rescale)

    def _v(self, x: Tensor, timestep: int, text: float) -> Tensor:
        own, mean, base, slope, wave = self.numbers[:5]
        frames = torch.arange(x.shape[2], dtype=torch.float32).view(1, 1, -1, 1, 1)
        drive = torch.tanh(own * x + mean * x.mean(dim=2, keepdim=True))
        return drive * (base + slope * timestep) + wave * torch.cos(frames) + text


def run(stem: Stem) -> Iterator[Finding]:
    """Noise table, steps, blended predictions, and the latents after all steps."""
    table = vid2vid_sigmas(len(stem.given("noise_schedule_sigmas")))
    schedule = refinement_schedule(table, stem.config["total_noise_levels"] / len(table), stem.config["steps"])
    deviations = torch.stack([schedule.deviation(step) for step in range(schedule.num_steps + 1)])
    yield stem.finding("noise_schedule_sigmas", table)
    yield stem.finding("step_timesteps", torch.tensor(schedule.timesteps))
    yield stem.finding("step_sigmas", deviations)
    refiner, windows = _refiner(stem, schedule), _windows(stem)
    state = published_start(stem.given("in.clean_latents"), stem.given("draw.noise_all"), schedule)
    for step in range(schedule.num_steps):
        state = step_lockstep(refiner, state, windows)
        name = f"out.x0_step{step}"
        if name in stem.outputs() and state.last_clean_1CVHW is not None:
            yield stem.finding(name, state.last_clean_1CVHW)
    yield stem.finding("out.final_latents", state.x_1CVHW)


def published_start(clean_1CVHW: Tensor, noise_1CVHW: Tensor, schedule: RefinementSchedule) -> LockstepState:
    """The released code's initial state: `noised` times sigma, which is 2.8 % too small at strength 0.6."""
    return LockstepState(0, noised(clean_1CVHW, noise_1CVHW, schedule) * schedule.sigma(0), None)


def _numbers(stem: Stem) -> tuple[float, ...]:
    stated = _FORMULA.search(stem.sidecar["stand_in_denoiser"])
    if stated is None:
        raise GoldenError(f"{stem.name}: the stand-in denoiser is not understood")
    return tuple(map(float, stated.groups()))


def _windows(stem: Stem) -> list[RefinementWindow]:
    """Windows that fill the video exactly, as published."""
    size, overlap = stem.config["chunk_size"], stem.config["overlap"]
    starts = [index * (size - overlap) for index in range(stem.config["chunks"])]
    if starts[-1] + size != stem.config["frames"]:
        raise GoldenError(f"{stem.name}: {len(starts)} windows do not fill {stem.config['frames']} frames")
    return [RefinementWindow(index, start, size, 0, overlap if index else 0) for index, start in enumerate(starts)]


def _refiner(stem: Stem, schedule: RefinementSchedule) -> Refiner:
    """A refiner that replays the recorded draws and cuts."""

    def noise(frames: range, step: int) -> Tensor:
        whole = stem.given("draw.noise_all") if step == START else stem.given("draw.brownian_noise")[step]
        return whole[:, :, frames.start : frames.stop]

    def cut(step: int, window: int) -> int:
        return int(stem.given("thresholds")[step, window - 1])

    network = FormulaNetwork(_numbers(stem), stem.config["guide_scale"], stem.config["guide_rescale"])
    return Refiner(network, schedule, noise, cut)
