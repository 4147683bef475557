"""The seam score sees seams, and the four ways to refine stand in the order that the method promises."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from core.model.evaluation.block_flow import flow_magnitudes
from core.model.evaluation.reader import Frames
from core.model.evaluation.seams import (
    WAYS,
    SeamFigures,
    at_seams,
    borders,
    false_changes,
    gain_kept,
    refine_every_way,
    seam_figures,
)
from core.model.refinement.blending import draw_cut
from core.model.refinement.noise import cut_generator, shared_noise
from core.model.refinement.schedule import refinement_schedule, vid2vid_sigmas
from core.model.refinement.windows import Refiner
from core.service.domain.frame_plan import refinement_windows

NUM_FRAMES = 56
SIGMAS = vid2vid_sigmas()


def texture() -> Frames:
    """Blobs of 4 pixels: every block can be told from its neighbours."""
    grey = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    return np.repeat(grey[..., None], 3, axis=-1)


def moving(places: Sequence[tuple[int, int]]) -> Frames:
    """The texture at these places (rows, columns), one a frame."""
    return np.stack([np.roll(texture(), place, axis=(0, 1)) for place in places])


def steady(jump: int) -> Frames:
    """One pixel a frame to the right, and `jump` pixels more across each window's border."""
    first = borders(refinement_windows(NUM_FRAMES))
    return moving([(0, frame + jump * sum(frame >= border for border in first)) for frame in range(NUM_FRAMES)])


def steadying(parts: Sequence[Tensor], timestep: int) -> list[Tensor]:
    """v of a denoiser for which every frame of a window is the window's mean."""
    sigma = SIGMAS[timestep]
    alpha = (1 - sigma**2).sqrt()
    return [(alpha * x - alpha * x.mean(dim=2, keepdim=True).expand_as(x)) / sigma for x in parts]


def job_refiner(seed: int) -> Refiner:
    return Refiner(
        steadying,
        refinement_schedule(SIGMAS, 0.6, 6),
        shared_noise(seed, (2, 1, 1)),
        lambda step, window: draw_cut(cut_generator(seed, window, step), 8),
    )


def drawn(latents_1CVHW: Tensor) -> Frames:
    """Latents say where the texture lies."""
    places = (4 * latents_1CVHW[0, :, :, 0, 0]).round().int().T.tolist()
    return moving([(rows, columns) for rows, columns in places])


def test_flow_is_the_shift_of_a_moving_texture() -> None:
    magnitudes = flow_magnitudes(moving([(0, 0), (0, 3), (4, 6), (4, 6)]))
    np.testing.assert_allclose(magnitudes, [3, 5, 0], atol=1e-6)


def test_flat_frames_stand_still_even_when_they_are_noisy() -> None:
    noise = np.random.default_rng(1).integers(126, 130, (4, 32, 32, 3), np.uint8)
    assert np.array_equal(flow_magnitudes(noise), [0, 0, 0])


def test_steady_motion_has_no_seam_and_jumps_at_borders_have() -> None:
    smooth, jumping, jumping_far = (seam_figures(steady(jump)) for jump in (0, 2, 5))
    assert smooth.score == pytest.approx(0)
    assert 0 < jumping.score < jumping_far.score
    assert (smooth.across, jumping.across, jumping_far.across) == pytest.approx((1, 3, 6))


def test_one_window_has_no_border() -> None:
    assert borders(refinement_windows(24)) == []
    assert borders(refinement_windows(41)) == [20, 36]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("num_frames", [16, 24, 41])
def test_every_way_refines_every_frame(way: str, num_frames: int) -> None:
    refined = WAYS[way](job_refiner(0), torch.zeros(1, 2, num_frames, 1, 1))
    assert refined.shape == (1, 2, num_frames, 1, 1)
    assert refined.abs().min() > 0


def test_all_ways_agree_where_there_is_one_window() -> None:
    first, *others = (way(job_refiner(0), torch.ones(1, 2, 24, 1, 1)) for way in WAYS.values())
    assert all(torch.equal(first, other) for other in others)


def still() -> Tensor:
    return torch.zeros(1, 2, NUM_FRAMES, 1, 1)


def compared(refiner: Refiner) -> dict[str, SeamFigures]:
    return {way: seam_figures(frames) for way, frames in refine_every_way(refiner, still(), drawn)}


def test_nothing_is_predicted_twice() -> None:
    asked = list[tuple[int, bytes]]()

    def counting(parts: Sequence[Tensor], timestep: int) -> list[Tensor]:
        asked.extend((timestep, part.numpy().tobytes()) for part in parts)
        return steadying(parts, timestep)

    refiner = replace(job_refiner(0), predict=counting)
    videos = dict(refine_every_way(refiner, still(), drawn))

    assert len(asked) == len(set(asked))
    # Each way has 3 windows of 6 steps. Three begin with the same window, and shared noise, lockstep and streaming
    # have the first step of the others in common.
    assert len(asked) <= 4 * 3 * 6 - 2 * 6 - (1 + 2) - 2
    assert all(np.array_equal(videos[way], drawn(WAYS[way](job_refiner(0), still()))) for way in WAYS)


def test_false_change_is_what_the_true_video_does_not_do() -> None:
    true = np.stack([np.full((2, 2, 3), grey, np.uint8) for grey in (10, 20, 30, 40)])
    wrong = true.copy()
    wrong[2:] += 8
    assert false_changes(true, true).tolist() == [0, 0, 0]
    assert false_changes(wrong, true).tolist() == [0, 8, 0]


def test_a_figure_at_seams_is_the_largest_of_each_overlap() -> None:
    by_change = np.ones(NUM_FRAMES - 1, np.float32)
    by_change[[15, 39]] = 5, 9  # the changes into the first frame of one overlap, and out of the last of the other
    by_change[0] = 2
    largest, elsewhere = at_seams(by_change, refinement_windows(NUM_FRAMES))
    assert largest == pytest.approx(7)
    assert elsewhere == pytest.approx(1 + 1 / (NUM_FRAMES - 1 - 2 * 9))


def test_shared_noise_narrows_seams_and_blending_more_so() -> None:
    videos = [compared(job_refiner(seed)) for seed in range(12)]
    across = {way: float(np.mean([video[way].across for video in videos])) for way in WAYS}
    scores = {way: float(np.mean([video[way].score for video in videos])) for way in WAYS}
    assert across["independent"] > across["shared noise"] > max(across["lockstep"], across["streaming"])
    assert scores["independent"] > scores["shared noise"] > max(scores["lockstep"], scores["streaming"])


def test_gain_kept_is_all_where_streaming_is_as_even_as_lockstep() -> None:
    assert gain_kept({"independent": 8.0, "lockstep": 3.0, "streaming": 3.0}) == 1
    assert gain_kept({"independent": 8.0, "lockstep": 3.0, "streaming": 4.0}) == pytest.approx(0.8)
