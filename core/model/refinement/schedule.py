"""The refiner's noise levels and the steps over them (MS-Vid2Vid-XL): a cosine table in log-SNR, trailing timesteps.

Pure numbers: knows no network, no window and no randomness. At level t a noised sample is alpha_t x0 + sigma_t n with
alpha^2 + sigma^2 = 1; the solver works on x / alpha, whose noise has the deviation s = sigma / alpha.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.service.domain.schema import NOISE_LEVELS

_LOG_SNR_LIMIT = 15.0
_ALMOST_ZERO_SIGNAL = 2.0**-24
"""Stands for alpha^2 = 0 at the last level, where sigma / alpha needs a number."""
_SHIFT_AT_START, _SHIFT_AT_END = 2.0, 4.0


def vid2vid_sigmas(num_levels: int = NOISE_LEVELS) -> Tensor:
    """sigma per level [T], float32, rising from 0.0011 to exactly 1 (no signal left at the last level).

    The cosine schedule's log-SNR over [-15, 15], lowered by 2 log(scale), the scale going from 2 to 4 along the levels
    (shifted and interpolated as in Hoogeboom et al. 2023, "simple diffusion").
    """
    place_T = torch.linspace(0, 1, num_levels, dtype=torch.float64)
    low, high = math.atan(math.exp(-_LOG_SNR_LIMIT / 2)), math.atan(math.exp(_LOG_SNR_LIMIT / 2))
    log_snr_T = -2 * torch.log(torch.tan(low + place_T * (high - low)))
    log_snr_T -= 2 * ((1 - place_T) * math.log(_SHIFT_AT_START) + place_T * math.log(_SHIFT_AT_END))
    sigmas_T = torch.sigmoid(-log_snr_T).sqrt()
    return (sigmas_T / sigmas_T[-1]).float()


@dataclass(frozen=True)
class RefinementSchedule:
    """The steps of one refinement, from the one SDEdit starts at down to clean.

    Steps are evenly spaced, so the noise deviation that the solver uses lies between two levels, while the network is
    asked for the nearest whole level and its answer is read at that (as published).
    """

    timesteps: tuple[int, ...]
    """Level of each network call, descending."""
    sigmas_S: Tensor
    """sigma of each of those levels [S], in (0, 1]."""
    deviations_S: Tensor
    """s = sigma / alpha that the solver steps from [S], between levels."""

    @property
    def num_steps(self) -> int:
        """Network calls per window."""
        return len(self.timesteps)

    def sigma(self, step: int) -> Tensor:
        """Share of noise amplitude at the network's level."""
        return self.sigmas_S[step]

    def alpha(self, step: int) -> Tensor:
        """Share of signal amplitude at the network's level."""
        return _alpha(self.sigma(step))

    def deviation(self, step: int) -> Tensor:
        """s = sigma / alpha at a step; 0 after the last one."""
        return torch.zeros(()) if step == self.num_steps else self.deviations_S[step]


def refinement_schedule(sigmas_T: Tensor, strength: float, num_steps: int) -> RefinementSchedule:
    """`num_steps` steps from `strength` of the table down, evenly spaced from the top ("trailing").

    `strength` in (0, 1]: 0.6 starts at level 599 of 1000, as published. One step more is placed than is used and the
    lowest is left out: from the one before it the solver goes straight to clean. Deviations are interpolated in log s.
    Raises ValueError for a strength or a number of steps that the table has no levels for.
    """
    num_levels = round(strength * len(sigmas_T))
    if not 0 < strength <= 1 or not 1 <= num_steps < num_levels:
        raise ValueError(f"strength {strength} with {num_steps} steps does not fit {len(sigmas_T)} levels")
    places_S = num_levels - 1 - torch.arange(num_steps, dtype=torch.float64) * num_levels / (num_steps + 1)
    timesteps = tuple(int(place) for place in places_S.round())
    return RefinementSchedule(timesteps, sigmas_T[list(timesteps)], _deviations(sigmas_T, places_S))


def _deviations(sigmas_T: Tensor, places_S: Tensor) -> Tensor:
    """s at places between levels, interpolated in its logarithm."""
    sigmas_T = sigmas_T.double()
    log_T = (sigmas_T / _alpha(sigmas_T)).log()
    below, above = places_S.floor().long(), places_S.ceil().long()
    return torch.lerp(log_T[below], log_T[above], places_S - below).exp().float()


def _alpha(sigma: Tensor) -> Tensor:
    return (1 - sigma**2).clamp(min=_ALMOST_ZERO_SIGNAL).sqrt()
