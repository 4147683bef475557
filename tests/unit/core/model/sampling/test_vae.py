"""The autoencoder takes many small frames or few large ones at a time, and tiles if requested."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor

from core.model.sampling.finite import FiniteCheck, clamped
from core.model.sampling.vae import decode_frames, enable_tiling, encode_frames, frames_per_call, to_pictures, to_uint8
from core.service.domain.errors import NotFinite
from tests.helpers.poison import INFINITY, NAN, poisoned


@pytest.fixture
def make_vae() -> Callable[[], AutoencoderKL]:
    """The same random autoencoder, 8 pixels a latent, each time."""

    def make() -> AutoencoderKL:
        torch.manual_seed(0)
        return AutoencoderKL(
            block_out_channels=(4, 4, 4, 4),  # pyright: ignore[reportArgumentType] - annotated as one element
            norm_num_groups=2,
            down_block_types=("DownEncoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType] - as above
            up_block_types=("UpDecoderBlock2D",) * 4,  # pyright: ignore[reportArgumentType] - as above
        ).eval()

    return make


def pictures(num_frames: int, side: int) -> Tensor:
    return torch.rand(num_frames, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.inference_mode()
def there_and_back(vae: AutoencoderKL, pictures_F3PR: Tensor) -> Tensor:
    return decode_frames(vae, encode_frames(vae, pictures_F3PR))


@pytest.mark.parametrize(("side", "frames"), [(64, 16), (256, 16), (512, 4), (720, 2), (4096, 1)])
def test_larger_frames_go_fewer_at_a_time(side: int, frames: int) -> None:
    assert frames_per_call(side, side) == frames


def test_frames_go_together_up_to_sixteen(make_vae: Callable[[], AutoencoderKL]) -> None:
    vae, calls = make_vae(), list[int]()
    vae.encoder.register_forward_pre_hook(lambda _module, given: calls.append(len(given[0])))
    vae.decoder.register_forward_pre_hook(lambda _module, given: calls.append(len(given[0])))
    assert len(there_and_back(vae, pictures(20, 16))) == 20
    assert calls == [16, 4, 16, 4]


def test_pictures_no_larger_than_a_tile_are_as_without_tiles(make_vae: Callable[[], AutoencoderKL]) -> None:
    whole, tiled = make_vae(), make_vae()
    enable_tiling(tiled, 64)
    assert torch.equal(there_and_back(whole, pictures(2, 64)), there_and_back(tiled, pictures(2, 64)))


def test_larger_pictures_are_made_of_tiles(make_vae: Callable[[], AutoencoderKL]) -> None:
    vae, sides = make_vae(), list[tuple[int, ...]]()
    enable_tiling(vae, 64)
    vae.decoder.register_forward_pre_hook(lambda _module, given: sides.append(tuple(given[0].shape[-2:])))
    shown = there_and_back(vae, pictures(1, 96))
    assert shown.shape == (1, 3, 96, 96)
    assert max(sides) == (8, 8)
    assert len(sides) == 4


def test_every_grey_level_comes_back_from_a_picture() -> None:
    frames = np.arange(256 * 3, dtype=np.uint8).reshape(2, 8, 16, 3)
    pictures_F3PR = to_pictures(frames)
    assert (pictures_F3PR.shape, float(pictures_F3PR.min()), float(pictures_F3PR.max())) == ((2, 3, 8, 16), -1, 1)
    assert np.array_equal(to_uint8(pictures_F3PR * 0.5 + 0.5), frames)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
def test_a_picture_that_is_not_finite_never_becomes_frames(value: float) -> None:
    pictures_F3PR = torch.full((2, 3, 8, 8), 0.5)
    pictures_F3PR[1, 2, 7, 7] = value
    with pytest.raises(NotFinite, match="these pictures, decoder: numbers that are not finite"):
        to_uint8(pictures_F3PR)


def test_what_a_decoder_gives_beyond_all_numbers_is_not_clamped_to_white(
    make_vae: Callable[[], AutoencoderKL],
) -> None:
    vae = make_vae()
    with poisoned(vae.decoder, INFINITY):
        assert decode_frames(vae, torch.zeros(4, 1, 2, 2)).isnan().any()


def test_clamping_changes_no_bit_of_finite_numbers() -> None:
    values = torch.randn(4096, generator=torch.Generator().manual_seed(0)) * 2
    values[:6] = torch.tensor([-0.0, 0.0, 1.0, 3e38, -3e38, 1e-45])
    assert torch.equal(clamped(values).view(torch.int32), values.clamp(0.0, 1.0).view(torch.int32))


def test_the_first_stage_that_went_wrong_is_named() -> None:
    check = FiniteCheck("chunk 3")
    for stage, value in (("window", 1.0), ("refinement", INFINITY), ("decoder", NAN)):
        check.add(stage, torch.full((5,), value))
    with pytest.raises(NotFinite, match="chunk 3, refinement: "):
        check.to_cpu(torch.zeros(1))


def test_large_half_precision_tensors_are_no_false_alarm() -> None:
    check = FiniteCheck("chunk 0")
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        check.add("window", torch.full((300_000,), 1.0, dtype=dtype))
    assert check.to_cpu(torch.ones(1)).tolist() == [1]
