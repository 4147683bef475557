"""Every number of steps that a request may have gives as many timesteps, all of training, down to no noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.model.engines.instruct_pix2pix.loading import scheduler_of
from core.model.engines.instruct_pix2pix.schedulers import SCHEDULERS

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler


@pytest.fixture(params=SCHEDULERS)
def trailing(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """With the timesteps of the shipped editor."""
    config = {
        "_class_name": request.param,
        "beta_schedule": "scaled_linear",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    }
    (tmp_path / "scheduler_config.json").write_text(json.dumps(config), encoding="utf-8")
    return scheduler_of(tmp_path)


def test_there_are_as_many_timesteps_as_steps(trailing: Any) -> None:
    for steps in range(1, 501):
        trailing.set_timesteps(steps)
        assert trailing.timesteps.shape == (steps,), steps
        assert trailing.timesteps.min() >= 0, steps


@pytest.mark.parametrize("steps", [1, 61, 103, 500])
def test_noise_falls_in_each_step_and_the_last_one_takes_all(trailing: Any, steps: int) -> None:
    trailing.set_timesteps(steps)

    assert (trailing.timesteps.diff() < 0).all()
    if hasattr(trailing, "sigmas"):
        assert trailing.sigmas.shape == (steps + 1,)
        assert (trailing.sigmas.diff() < 0).all()
        assert trailing.sigmas[-1] == 0
