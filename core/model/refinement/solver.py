"""One step of the refiner's solver, DPM-Solver++(2M) SDE with eta 1 (Lu et al. 2022, section 5), and guidance for it.

Pure functions of tensors of any shape. All but rescaled guidance are elementwise, so windows can be solved separately
or together.
"""

import torch
from torch import Tensor

from core.model.refinement.schedule import RefinementSchedule
from core.model.sampling.schedules import Prediction

_ALMOST_ZERO = 1e-12


def noised(clean: Tensor, noise: Tensor, schedule: RefinementSchedule) -> Tensor:
    """SDEdit's initial sample in the solver's scale: x0 + s n at the first level (Meng et al. 2022)."""
    return clean + schedule.deviation(0) * noise


def network_input(x: Tensor, schedule: RefinementSchedule, step: int) -> Tensor:
    """The solver's x in the network's variance-preserving scale: x / sqrt(s^2 + 1)."""
    return x / (schedule.deviation(step) ** 2 + 1).sqrt()


def rescaled_guidance(unconditional: Tensor, conditional: Tensor, scale: float, rescale: float) -> Tensor:
    """Guided prediction, rescaled by `rescale` in [0, 1] to the conditional one's standard deviation.

    Lin et al. 2023, section 3.4. The deviation is over the whole tensor: call it per window, as published.
    """
    guided = unconditional + scale * (conditional - unconditional)
    ratio = conditional.std() / (guided.std() + _ALMOST_ZERO)
    return guided * (rescale * ratio + 1 - rescale)


def clean_from(
    kind: Prediction, network_x: Tensor, prediction: Tensor, schedule: RefinementSchedule, step: int
) -> Tensor:
    """x0 from a network's prediction: alpha x - sigma v, or (x - sigma epsilon) / alpha."""
    if kind == "v_prediction":
        return schedule.alpha(step) * network_x - schedule.sigma(step) * prediction
    return (network_x - schedule.sigma(step) * prediction) / schedule.alpha(step)


def advance(
    x: Tensor, clean: Tensor, last_clean: Tensor | None, noise: Tensor | None, schedule: RefinementSchedule, step: int
) -> Tensor:
    """x at the next level. `last_clean` is None at the first step, `noise` (standard normal) at the last.

    The last step returns the clean prediction.
    """
    if step == schedule.num_steps - 1:
        return clean
    assert noise is not None
    before, after = schedule.deviation(step), schedule.deviation(step + 1)
    kept = (after / before) ** 2
    fresh = 1 - kept
    moved = kept * x + fresh * clean + after * fresh.sqrt() * noise
    if last_clean is None or schedule.deviation(step - 1) <= before:
        return moved  # first order: no previous step, or levels that are clamped to the same signal
    # Second order: extrapolate the prediction by the ratio of the two steps in log s.
    ratio = torch.log(before / after) / torch.log(schedule.deviation(step - 1) / before)
    return moved + 0.5 * fresh * ratio * (clean - last_clean)
