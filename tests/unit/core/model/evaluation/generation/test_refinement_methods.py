"""Seam figures detect seams, and the four refinement methods rank as the paper says."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from core.model.evaluation.generation.refinement_methods import METHODS, refine_with_all_methods
from core.model.evaluation.metrics.block_flow import flow_magnitudes
from core.model.evaluation.metrics.seam_figures import (
    borders,
    false_changes,
    flow_at_borders,
    gain_kept,
    mean_at_seams,
)
from core.model.refinement.blending import draw_cut
from core.model.refinement.noise import cut_generator, shared_noise
from core.model.refinement.schedule import refinement_schedule, vid2vid_sigmas
from core.model.refinement.windows import Refiner
from core.service.domain.engine import FramesTHWC
from core.service.domain.frame_plan import refinement_windows

NUM_FRAMES = 56
SIGMAS = vid2vid_sigmas()


def texture() -> FramesTHWC:
    """Squares of 4 pixels; neighbouring blocks differ."""
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    return np.repeat(grey[..., None], 3, axis=-1)


def moving(positions: Sequence[tuple[int, int]]) -> FramesTHWC:
    """The texture at these positions (rows, columns), one per frame."""
    return np.stack([np.roll(texture(), position, axis=(0, 1)) for position in positions])


def steady(jump: int) -> FramesTHWC:
    """One pixel per frame to the right, and `jump` more pixels across each window border."""
    first = borders(refinement_windows(NUM_FRAMES))
    return moving([(0, frame + jump * sum(frame >= border for border in first)) for frame in range(NUM_FRAMES)])


def mean_predictor(parts: Sequence[Tensor], timestep: int) -> list[Tensor]:
    """v of a denoiser for which every frame of a window is the window's mean."""
    sigma = SIGMAS[timestep]
    alpha = (1 - sigma**2).sqrt()
    return [(alpha * x - alpha * x.mean(dim=2, keepdim=True).expand_as(x)) / sigma for x in parts]


def job_refiner(seed: int) -> Refiner:
    return Refiner(
        mean_predictor,
        refinement_schedule(SIGMAS, 0.6, 6),
        shared_noise(seed, (2, 1, 1)),
        lambda step, window: draw_cut(cut_generator(seed, window, step), 8),
    )


def drawn(latents_1CVHW: Tensor) -> FramesTHWC:
    """Frames with the texture at the position given by the latents."""
    positions = (4 * latents_1CVHW[0, :, :, 0, 0]).round().int().T.tolist()
    return moving([(rows, columns) for rows, columns in positions])


def test_flow_is_the_shift_of_a_moving_texture() -> None:
    magnitudes = flow_magnitudes(moving([(0, 0), (0, 3), (4, 6), (4, 6)]))
    np.testing.assert_allclose(magnitudes, [3, 5, 0], atol=1e-6)


def test_noisy_flat_frames_have_no_flow() -> None:
    noise = np.random.default_rng(1).integers(126, 130, (4, 32, 32, 3), np.uint8)
    assert np.array_equal(flow_magnitudes(noise), [0, 0, 0])


def test_jumps_at_borders_raise_the_score() -> None:
    smooth, jumping, jumping_far = (flow(steady(jump)) for jump in (0, 2, 5))
    assert smooth[0] == pytest.approx(0)
    assert 0 < jumping[0] < jumping_far[0]
    assert (smooth[1], jumping[1], jumping_far[1]) == pytest.approx((1, 3, 6))


def test_one_window_has_no_border() -> None:
    assert borders(refinement_windows(24)) == []
    assert borders(refinement_windows(41)) == [20, 36]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num_frames", [16, 24, 41])
def test_every_method_refines_every_frame(method: str, num_frames: int) -> None:
    refined = METHODS[method](job_refiner(0), torch.zeros(1, 2, num_frames, 1, 1))
    assert refined.shape == (1, 2, num_frames, 1, 1)
    assert refined.abs().min() > 0


def test_all_methods_agree_on_a_single_window() -> None:
    first, *others = (method(job_refiner(0), torch.ones(1, 2, 24, 1, 1)) for method in METHODS.values())
    assert all(torch.equal(first, other) for other in others)


def still() -> Tensor:
    return torch.zeros(1, 2, NUM_FRAMES, 1, 1)


def flow(frames: FramesTHWC) -> tuple[float, float]:
    """Flow std, and flow across borders."""
    return flow_at_borders(frames, refinement_windows(len(frames)))


def compared(refiner: Refiner) -> dict[str, tuple[float, float]]:
    return {method: flow(frames) for method, frames in refine_with_all_methods(refiner, still(), drawn)}


def test_nothing_is_predicted_twice() -> None:
    inputs = list[tuple[int, bytes]]()

    def counting(parts: Sequence[Tensor], timestep: int) -> list[Tensor]:
        inputs.extend((timestep, part.numpy().tobytes()) for part in parts)
        return mean_predictor(parts, timestep)

    refiner = replace(job_refiner(0), predict=counting)
    videos = dict(refine_with_all_methods(refiner, still(), drawn))

    assert len(inputs) == len(set(inputs))
    # Each method has 3 windows of 6 steps. Three share the first window, and shared noise, lockstep and streaming share
    # the first step of the other windows.
    assert len(inputs) <= 4 * 3 * 6 - 2 * 6 - (1 + 2) - 2
    assert all(np.array_equal(videos[method], drawn(METHODS[method](job_refiner(0), still()))) for method in METHODS)


def test_false_change_is_the_difference_from_the_true_change() -> None:
    true = np.stack([np.full((2, 2, 3), grey, np.uint8) for grey in (10, 20, 30, 40)])
    wrong = true.copy()
    wrong[2:] += 8
    assert false_changes(true, true).tolist() == [0, 0, 0]
    assert false_changes(wrong, true).tolist() == [0, 8, 0]


def test_a_figure_at_seams_is_the_maximum_of_each_overlap() -> None:
    by_change = np.ones(NUM_FRAMES - 1, np.float32)
    by_change[[15, 39]] = 5, 9  # the changes into the first frame of one overlap, and out of the last of the other
    by_change[0] = 2
    largest, elsewhere = mean_at_seams(by_change, refinement_windows(NUM_FRAMES))
    assert largest == pytest.approx(7)
    assert elsewhere == pytest.approx(1 + 1 / (NUM_FRAMES - 1 - 2 * 9))


def test_shared_noise_reduces_seams_and_blending_more_so() -> None:
    videos = [compared(job_refiner(seed)) for seed in range(12)]
    across = {method: float(np.mean([video[method][1] for video in videos])) for method in METHODS}
    scores = {method: float(np.mean([video[method][0] for video in videos])) for method in METHODS}
    assert across["independent"] > across["shared noise"] > max(across["lockstep"], across["streaming"])
    assert scores["independent"] > scores["shared noise"] > max(scores["lockstep"], scores["streaming"])


def test_gain_kept_is_1_if_streaming_equals_lockstep() -> None:
    assert gain_kept({"independent": 8.0, "lockstep": 3.0, "streaming": 3.0}) == 1
    assert gain_kept({"independent": 8.0, "lockstep": 3.0, "streaming": 4.0}) == pytest.approx(0.8)
