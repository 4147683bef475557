"""Stem `randomized_blending`: the refiner's solver over overlapping windows with a formula in the network's place.

Draws and cuts are the recorded ones.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from core.model.refinement.noise import START
from core.model.refinement.schedule import RefinementSchedule, refinement_schedule, vid2vid_sigmas
from core.model.refinement.solver import clean_from_v, published_start, rescaled_guidance
from core.model.refinement.windows import Refiner, refine_in_lockstep
from core.service.frame_plan import RefinementWindow
from tests.golden.folder import GoldenError
from tests.golden.report import Finding
from tests.golden.stem import Stem

_NUMBER = r"([+-]?[\d.]+)"
_FORMULA = re.compile(
    rf"tanh\({_NUMBER}\*x \+ {_NUMBER}\*mean over the frames of the CHUNK of x\) \* \({_NUMBER} \+ {_NUMBER}\*t\)"
    rf" \+ {_NUMBER}\*cos\(f\) \+ y,.*y = {_NUMBER} for the conditional and {_NUMBER} for the unconditional"
)


@dataclass
class FormulaNetwork:
    """The sidecar's stand-in for the network, guided; keeps what it predicted at every step."""

    numbers: tuple[float, ...]
    guide_scale: float
    guide_rescale: float
    schedule: RefinementSchedule
    clean: list[list[Tensor]] = field(default_factory=lambda: [])
    """Clean predictions of every window, per step."""

    def __call__(self, parts: Sequence[Tensor], timestep: int) -> list[Tensor]:
        """Guided v of every window."""
        conditional, unconditional = self.numbers[5:]
        guided = [
            rescaled_guidance(
                self._v(x, timestep, unconditional),
                self._v(x, timestep, conditional),
                self.guide_scale,
                self.guide_rescale,
            )
            for x in parts
        ]
        step = len(self.clean)
        self.clean.append([clean_from_v(x, v, self.schedule, step) for x, v in zip(parts, guided, strict=True)])
        return guided

    def _v(self, x: Tensor, timestep: int, text: float) -> Tensor:
        own, mean, base, slope, wave = self.numbers[:5]
        frames = torch.arange(x.shape[2], dtype=torch.float32).view(1, 1, -1, 1, 1)
        drive = torch.tanh(own * x + mean * x.mean(dim=2, keepdim=True))
        return drive * (base + slope * timestep) + wave * torch.cos(frames) + text


def run(stem: Stem) -> Iterator[Finding]:
    """Noise table, steps, and the latents after all of them."""
    table = vid2vid_sigmas(len(stem.given("noise_schedule_sigmas")))
    schedule = refinement_schedule(table, stem.config["total_noise_levels"] / len(table), stem.config["steps"])
    deviations = torch.stack([schedule.deviation(step) for step in range(schedule.num_steps + 1)])
    yield stem.finding("noise_schedule_sigmas", table)
    yield stem.finding("step_timesteps", torch.tensor(schedule.timesteps))
    yield stem.finding("step_sigmas", deviations)
    network = FormulaNetwork(_numbers(stem), stem.config["guide_scale"], stem.config["guide_rescale"], schedule)
    refined = refine_in_lockstep(
        _refiner(stem, network), stem.given("in.clean_latents"), _windows(stem), lambda _step, _steps: None
    )
    for name in sorted(stem.outputs()):
        if step := re.fullmatch(r"out\.x0_step(\d+)", name):
            yield stem.finding(name, _blended(stem, network.clean[int(step.group(1))], int(step.group(1))))
    yield stem.finding("out.final_latents", refined)


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


def _refiner(stem: Stem, network: FormulaNetwork) -> Refiner:
    """A refiner that replays the recorded draws."""

    def noise(frames: range, step: int) -> Tensor:
        whole = stem.given("draw.noise_all") if step == START else stem.given("draw.brownian_noise")[step]
        return whole[:, :, frames.start : frames.stop]

    return Refiner(network, network.schedule, noise, lambda step, window: _cut(stem, step, window), published_start)


def _cut(stem: Stem, step: int, window: int) -> int:
    return int(stem.given("thresholds")[step, window - 1])


def _blended(stem: Stem, clean: list[Tensor], step: int) -> Tensor:
    """Clean predictions of all windows as one video, each overlap cut where it was recorded."""
    whole = torch.empty_like(stem.given("in.clean_latents"))
    for window, part in zip(_windows(stem), clean, strict=True):
        kept = _cut(stem, step, window.index) if window.index else 0
        whole[:, :, window.first_frame + kept : window.end_frame] = part[:, :, kept:]
    return whole
