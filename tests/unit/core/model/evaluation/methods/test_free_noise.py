"""FreeNoise: the noise of later windows is that of the first, and temporal attention acts in windows."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional

from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.evaluation.methods.base_model import BaseModel
from core.model.evaluation.methods.free_noise import FreeNoise
from core.model.evaluation.methods.free_noise_windows import (
    WindowedAttention,
    Windows,
    rescheduled_noise,
    windowed_attention,
)
from core.model.evaluation.methods.method import MethodRequest
from core.model.sampling.noise import seeded

WINDOWS = Windows()


def rescheduled(num_frames: int) -> Tensor:
    """Noise [F, 2] of a video, flattened by frame."""
    base = torch.randn((1, 2, 16, 1, 1), generator=seeded(1))
    return rescheduled_noise(base, num_frames, WINDOWS, seeded(2))[0, :, :, 0, 0].T


def test_windows_cover_a_video_with_as_few_frames_more_as_possible() -> None:
    assert [WINDOWS.covered(count) for count in (16, 17, 20, 21, 240)] == [16, 20, 20, 24, 240]
    assert list(WINDOWS.starts(24)) == [0, 4, 8]
    assert WINDOWS.starts(16) == range(1)


def test_every_window_has_the_noises_of_the_first_in_another_order() -> None:
    noise = rescheduled(240)
    first = noise[:16]
    assert torch.equal(first, torch.randn((1, 2, 16, 1, 1), generator=seeded(1))[0, :, :, 0, 0].T)
    for start in WINDOWS.starts(240):
        window = noise[start : start + 16]
        assert torch.equal(window[window[:, 0].argsort()], first[first[:, 0].argsort()])
    orders = {tuple(noise[start : start + 16, 0].tolist()) for start in range(0, 240, 16)}
    assert len(orders) > 10


def inputs_of(num_frames: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timestep and text of the tiny network, in double precision, so that rounding hides nothing."""
    latents = torch.randn((1, 4, num_frames, 4, 4), generator=seeded(3), dtype=torch.float64)
    return latents, torch.tensor(500), torch.randn((1, 6, 12), generator=seeded(5), dtype=torch.float64)


def test_one_window_is_plain_attention_and_the_ejected_unet_is_as_before(tiny_network: StreamingNetwork) -> None:
    unet, inputs = tiny_network.unet.double(), inputs_of(16)
    with torch.inference_mode():
        before = unet(*inputs, return_dict=False)[0]
        with windowed_attention(unet, WINDOWS):
            within = unet(*inputs, return_dict=False)[0]
        after = unet(*inputs, return_dict=False)[0]
    assert (within - before).abs().max() < 1e-9 * before.abs().max()
    assert torch.equal(after, before)


def test_an_exception_ends_the_windows_as_well(tiny_network: StreamingNetwork) -> None:
    unet, inputs = tiny_network.unet.double(), inputs_of(24)
    with torch.inference_mode():
        before = unet(*inputs, return_dict=False)[0]
        with pytest.raises(RuntimeError, match="no memory"), windowed_attention(unet, WINDOWS):
            raise RuntimeError("no memory")
        assert torch.equal(unet(*inputs, return_dict=False)[0], before)


def test_longer_videos_are_another_thing_in_windows(tiny_network: StreamingNetwork) -> None:
    """Otherwise the test above could pass without any window."""
    unet, inputs = tiny_network.unet.double(), inputs_of(24)
    with torch.inference_mode():
        plain = unet(*inputs, return_dict=False)[0]
        with windowed_attention(unet, WINDOWS):
            windowed = unet(*inputs, return_dict=False)[0]
    assert (windowed - plain).abs().max() > 1e-3 * plain.abs().max()


def attention() -> tuple[WindowedAttention, torch.nn.Module, Tensor]:
    torch.manual_seed(4)
    layer = Attention(query_dim=8, heads=2, dim_head=4)
    return WindowedAttention(WINDOWS), layer, torch.randn((3, 28, 8))


@torch.inference_mode()
def test_a_frame_s_attention_is_the_weighted_mean_of_its_windows() -> None:
    processor, layer, states = attention()
    rising = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1])
    expected = torch.zeros_like(states)
    for frame in range(28):
        starts = [start for start in (0, 4, 8, 12) if start <= frame < start + 16]
        results = [layer(states[:, start : start + 16])[:, frame - start] for start in starts]
        shares = functional.normalize(torch.stack([rising[frame - start] for start in starts]), p=1, dim=0)
        expected[:, frame] = sum(share * result for share, result in zip(shares, results, strict=True))
    assert torch.allclose(processor(layer, states), expected, atol=1e-6)  # pyright: ignore[reportArgumentType]


@torch.inference_mode()
def test_frames_that_share_no_window_do_not_attend_to_each_other() -> None:
    processor, layer, states = attention()
    changed = states.clone()
    changed[:, 0] += 10
    one, other = (processor(layer, each) for each in (states, changed))  # pyright: ignore[reportArgumentType]
    assert torch.equal(one[:, 16:], other[:, 16:])
    assert not torch.allclose(one[:, 15], other[:, 15])


def test_after_a_video_the_base_is_as_before(base: BaseModel) -> None:
    unet = base.models.base.unet
    processors = dict(unet.attn_processors)
    list(FreeNoise(base).chunks(MethodRequest("a red circle", 1, 20)))
    assert all(unet.attn_processors[name] is processor for name, processor in processors.items())
