"""The refiner's network compared with golden numbers, and the sizes that it accepts."""

from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from safetensors.torch import load_file
from torch import Tensor

from core.model.networks.base_network import UntouchedBase, predict_base
from core.model.refinement.unet import nearest_latent_size, with_vid2vid_resampling


@pytest.fixture(scope="module")
def golden(references: Path) -> dict[str, Tensor]:
    return load_file(references / "refiner_unet.safetensors")


@pytest.fixture(scope="module")
def unet(golden_weights: dict[str, Tensor]) -> UNet3DConditionModel:
    """The golden network, resampling as published."""
    made = UNet3DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 32, 32),
        attention_head_dim=8,
        cross_attention_dim=1024,
    )
    own = made.state_dict()
    made.load_state_dict({name: golden_weights[f"base_model.{name}"] for name in own})
    return with_vid2vid_resampling(made).eval()


@torch.no_grad()
def test_the_published_prediction_is_met(
    unet: UNet3DConditionModel, golden: dict[str, Tensor], golden_io: dict[str, Tensor]
) -> None:
    network = UntouchedBase(unet)
    predicted = predict_base(network.unet, golden["in.latents"], golden["in.timestep"], golden_io["in.text_states"])
    torch.testing.assert_close(predicted, golden["out.v_pred"], atol=1e-4, rtol=0)


def test_weights_keep_diffusers_names(unet: UNet3DConditionModel) -> None:
    plain = UNet3DConditionModel(block_out_channels=(32, 32, 32, 32), attention_head_dim=8, cross_attention_dim=1024)
    assert list(unet.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    ("asked", "fits"),
    [((90, 90), (90, 96)), ((90, 160), (90, 160)), ((16, 16), (18, 16)), ((10, 8), (10, 8)), ((18, 17), (18, 24))],
)
def test_the_nearest_size_is_the_least_padding(asked: tuple[int, int], fits: tuple[int, int]) -> None:
    assert nearest_latent_size(*asked, num_levels=4, vid2vid=True) == fits


def test_without_the_published_resampling_rows_are_as_columns() -> None:
    assert nearest_latent_size(16, 17, num_levels=4, vid2vid=False) == (16, 24)
