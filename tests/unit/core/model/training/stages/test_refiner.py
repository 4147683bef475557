"""The refiner is trained on the states of its solver, with true frames as targets."""

import numpy as np
import pytest
import torch

from core.model.refinement.schedule import refinement_schedule, vid2vid_sigmas
from core.model.refinement.solver import advance, noised
from core.model.training.sprites.scene_sampling import sample_scene
from core.model.training.stages.refiner import STRENGTH, latent_pair, on_trajectory, random_levels
from core.model.training.stages.vae import sprites_vae

SHAPE = (1, 4, 3, 2, 2)


def true_preview_noise() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(SHAPE, generator=generator) for _ in range(3)]


@pytest.mark.parametrize("level", [0, 100, 399])
def test_target_leads_to_the_true_frames(level: int) -> None:
    true, preview, noise = true_preview_noise()
    sigma, start = vid2vid_sigmas()[[level]], vid2vid_sigmas()[[399]]
    noisy, v = on_trajectory(true, preview, noise, sigma, start)
    torch.testing.assert_close((1 - sigma**2).sqrt() * noisy - sigma * v, true, atol=1e-5, rtol=0)


def test_without_a_difference_it_is_plain_denoising() -> None:
    true, _, noise = true_preview_noise()
    sigma = vid2vid_sigmas()[[200]]
    noisy, v = on_trajectory(true, true, noise, sigma, vid2vid_sigmas()[[399]])
    alpha = (1 - sigma**2).sqrt()
    torch.testing.assert_close(noisy, alpha * true + sigma * noise)
    torch.testing.assert_close(v, alpha * noise - sigma * true)


def test_solver_follows_the_training_trajectory() -> None:
    true, preview, noise = true_preview_noise()
    schedule = refinement_schedule(vid2vid_sigmas(), STRENGTH, 6)
    nothing, start = torch.zeros(SHAPE), sigma_of(schedule.deviation(0))
    x = noised(preview, nothing, schedule)
    for step in range(5):
        x = advance(x, true, None if step == 0 else true, nothing, schedule, step)
        sigma = sigma_of(schedule.deviation(step + 1))
        expected, _ = on_trajectory(true, preview, noise, sigma, start)
        torch.testing.assert_close((1 - sigma**2).sqrt() * x, expected - sigma * noise, atol=1e-5, rtol=1e-4)


def sigma_of(deviation: torch.Tensor) -> torch.Tensor:
    return (deviation / (deviation**2 + 1).sqrt()).reshape(1)


def test_no_refinement_starts_below_the_level_it_has_reached() -> None:
    levels, starts = random_levels(np.random.default_rng(0), 500)
    assert (starts >= levels).all()
    assert int(starts.max()) < 1000 * STRENGTH
    # Stratified: every batch covers the whole range.
    assert levels.diff().min() >= 0
    assert int(levels[-1]) > 0.99 * 1000 * STRENGTH


def test_pair_contains_the_true_clip_and_the_enlarged_preview() -> None:
    torch.manual_seed(0)
    scene = sample_scene(np.random.default_rng(1))
    pair = latent_pair(sprites_vae((8, 8, 8, 8)).eval(), scene)
    assert pair.shape == (24, 8, 16, 16)
    assert not torch.equal(pair[:, :4], pair[:, 4:])
