"""Noise levels and steps of the refiner (MS-Vid2Vid-XL): a cosine schedule in log-SNR, trailing timesteps.

At level t a noisy sample is alpha_t x0 + sigma_t n with alpha^2 + sigma^2 = 1; the solver works on x / alpha, whose
noise has the standard deviation s = sigma / alpha.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from core.service.domain.schema import NOISE_LEVELS

_LOG_SNR_LIMIT = 15.0
_ALMOST_ZERO_SIGNAL = 2.0**-24
"""Replaces alpha^2 = 0 at the last level in sigma / alpha."""
_SHIFT_AT_START, _SHIFT_AT_END = 2.0, 4.0


def vid2vid_sigmas(num_levels: int = NOISE_LEVELS) -> Tensor:
    """sigma per level [T], float32, rising from 0.0011 to exactly 1 (zero terminal SNR).

    The cosine schedule's log-SNR over [-15, 15], lowered by 2 log(scale) with a scale from 2 to 4 along the levels
    (shifted and interpolated as in Hoogeboom et al. 2023, "simple diffusion").
    """
    position_T = torch.linspace(0, 1, num_levels, dtype=torch.float64)
    low, high = math.atan(math.exp(-_LOG_SNR_LIMIT / 2)), math.atan(math.exp(_LOG_SNR_LIMIT / 2))
    log_snr_T = -2 * torch.log(torch.tan(low + position_T * (high - low)))
    log_snr_T -= 2 * ((1 - position_T) * math.log(_SHIFT_AT_START) + position_T * math.log(_SHIFT_AT_END))
    sigmas_T = torch.sigmoid(-log_snr_T).sqrt()
    return (sigmas_T / sigmas_T[-1]).float()


@dataclass(frozen=True)
class RefinementSchedule:
    """The steps of one refinement, from SDEdit's first level to the clean sample.

    Steps are evenly spaced: the solver uses noise deviations between two levels, while the network is called at, and
    its prediction interpreted for, the nearest whole level (as published).
    """

    timesteps: tuple[int, ...]
    """Level of each network call, descending."""
    sigmas_S: Tensor
    """sigma of each of those levels [S], in (0, 1]."""
    deviations_S: Tensor
    """s = sigma / alpha at the start of each solver step [S]."""

    @property
    def num_steps(self) -> int:
        """Network calls per window."""
        return len(self.timesteps)

    def sigma(self, step: int) -> Tensor:
        """sigma at the network's level, a scalar tensor."""
        return self.sigmas_S[step]

    def alpha(self, step: int) -> Tensor:
        """alpha at the network's level, a scalar tensor."""
        return _alpha(self.sigma(step))

    def deviation(self, step: int) -> Tensor:
        """s = sigma / alpha at a step; 0 after the last one."""
        return torch.zeros(()) if step == self.num_steps else self.deviations_S[step]


def refinement_schedule(sigmas_T: Tensor, strength: float, num_steps: int) -> RefinementSchedule:
    """`num_steps` steps from `strength` of the table down, evenly spaced from the top ("trailing").

    `strength` in (0, 1]: 0.6 starts at level 599 of 1000, as published. The spacing is for one step more without the
    lowest level: the last step goes straight to the clean sample. Deviations are interpolated in log s. Raises
    ValueError for a strength outside (0, 1], or if there are fewer levels than steps.
    """
    num_levels = round(strength * len(sigmas_T))
    if not 0 < strength <= 1 or not 1 <= num_steps < num_levels:
        raise ValueError(f"strength {strength} with {num_steps} steps does not fit {len(sigmas_T)} levels")
    positions_S = num_levels - 1 - torch.arange(num_steps, dtype=torch.float64) * num_levels / (num_steps + 1)
    timesteps = tuple(int(position) for position in positions_S.round())
    return RefinementSchedule(timesteps, sigmas_T[list(timesteps)], _deviations(sigmas_T, positions_S))


def _deviations(sigmas_T: Tensor, positions_S: Tensor) -> Tensor:
    """s at positions between levels, interpolated in log s."""
    sigmas_T = sigmas_T.double()
    log_T = (sigmas_T / _alpha(sigmas_T)).log()
    below, above = positions_S.floor().long(), positions_S.ceil().long()
    return torch.lerp(log_T[below], log_T[above], positions_S - below).exp().float()


def _alpha(sigma: Tensor) -> Tensor:
    return (1 - sigma**2).clamp(min=_ALMOST_ZERO_SIGNAL).sqrt()
