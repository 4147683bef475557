"""A latent-diffusion autoencoder and its conversion give the same numbers.

The autoencoder here is written from the published structure (arXiv 2112.10752), under its key names.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from core.model.convert.expected import ldm_vae_table, vae_shapes
from core.model.convert.ldm_vae import modern_attention
from core.model.convert.safe_file import open_checkpoint
from tests.helpers.checkpoints import SMALL_VAE, ldm_vae_shapes, random_weights

Weights = dict[str, Tensor]
LEVELS = len(SMALL_VAE["block_out_channels"])
GROUPS = SMALL_VAE["norm_num_groups"]


def convolve(x: Tensor, weights: Weights, name: str, stride: int = 1) -> Tensor:
    weight = weights[f"{name}.weight"]
    padding = weight.shape[-1] // 2 if stride == 1 else 0
    return functional.conv2d(x, weight, weights[f"{name}.bias"], stride=stride, padding=padding)


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    return functional.group_norm(x, GROUPS, weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)


def resnet(x: Tensor, weights: Weights, name: str) -> Tensor:
    hidden = convolve(functional.silu(norm(x, weights, f"{name}.norm1")), weights, f"{name}.conv1")
    hidden = convolve(functional.silu(norm(hidden, weights, f"{name}.norm2")), weights, f"{name}.conv2")
    has_shortcut = f"{name}.nin_shortcut.weight" in weights
    return hidden + (convolve(x, weights, f"{name}.nin_shortcut") if has_shortcut else x)


def attend(x: Tensor, weights: Weights, name: str) -> Tensor:
    """All pixels see each other; one head."""
    inner = norm(x, weights, f"{name}.norm")
    query, key, value = (convolve(inner, weights, f"{name}.{letter}").flatten(2) for letter in "qkv")
    shares = torch.softmax(query.mT @ key / x.shape[1] ** 0.5, dim=-1)
    return x + convolve((value @ shares.mT).view_as(x), weights, f"{name}.proj_out")


def middle(x: Tensor, weights: Weights, half: str) -> Tensor:
    x = attend(resnet(x, weights, f"{half}.mid.block_1"), weights, f"{half}.mid.attn_1")
    return resnet(x, weights, f"{half}.mid.block_2")


def finish(x: Tensor, weights: Weights, half: str) -> Tensor:
    return convolve(functional.silu(norm(x, weights, f"{half}.norm_out")), weights, f"{half}.conv_out")


def encode(pictures: Tensor, weights: Weights) -> Tensor:
    """Pictures -> means and log variances."""
    x = convolve(pictures, weights, "encoder.conv_in")
    for level in range(LEVELS):
        x = resnet(x, weights, f"encoder.down.{level}.block.0")
        if level < LEVELS - 1:
            x = convolve(functional.pad(x, (0, 1, 0, 1)), weights, f"encoder.down.{level}.downsample.conv", stride=2)
    return convolve(finish(middle(x, weights, "encoder"), weights, "encoder"), weights, "quant_conv")


def decode(latents: Tensor, weights: Weights) -> Tensor:
    x = convolve(convolve(latents, weights, "post_quant_conv"), weights, "decoder.conv_in")
    x = middle(x, weights, "decoder")
    for level in reversed(range(LEVELS)):
        for block in range(2):
            x = resnet(x, weights, f"decoder.up.{level}.block.{block}")
        if level:
            x = convolve(functional.interpolate(x, scale_factor=2), weights, f"decoder.up.{level}.upsample.conv")
    return finish(x, weights, "decoder")


@pytest.fixture(scope="module")
def weights() -> Weights:
    return random_weights(ldm_vae_shapes())


@pytest.fixture(scope="module")
def converted(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> AutoencoderKL:
    file = tmp_path_factory.mktemp("vae") / "ldm.safetensors"
    save_file(weights, file)
    read = open_checkpoint(file)
    model = cast(AutoencoderKL, AutoencoderKL.from_config(SMALL_VAE))
    table = ldm_vae_table(SMALL_VAE)
    model.load_state_dict({entry.name: read[name].load().view(entry.shape) for name, entry in table.items()})
    return model.eval()


@torch.no_grad()
def test_the_encoder_gives_the_same_latents(weights: Weights, converted: AutoencoderKL) -> None:
    pictures = torch.randn(2, 3, 32, 24, generator=torch.Generator().manual_seed(1))

    ours = converted.encode(pictures).latent_dist.parameters  # pyright: ignore[reportAttributeAccessIssue] - a union

    torch.testing.assert_close(ours, encode(pictures, weights), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_decoder_gives_the_same_pictures(weights: Weights, converted: AutoencoderKL) -> None:
    latents = torch.randn(2, 4, 4, 3, generator=torch.Generator().manual_seed(1))

    ours = converted.decode(cast(torch.FloatTensor, latents)).sample  # pyright: ignore[reportAttributeAccessIssue]

    torch.testing.assert_close(ours, decode(latents, weights), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("convolutions", [False, True])
def test_attention_names_of_older_versions_become_todays(tmp_path: Path, convolutions: bool) -> None:
    today = vae_shapes(SMALL_VAE)
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    stored: Weights = {}
    for name, shape in today.items():
        for new, old in older.items():
            name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        is_old_matrix = any(f".{old}.weight" in name for old in older.values())
        stored[name] = torch.ones((*shape, 1, 1) if is_old_matrix and convolutions else shape)
    save_file(stored, tmp_path / "vae.safetensors")

    read = dict(modern_attention(*item) for item in open_checkpoint(tmp_path / "vae.safetensors").items())

    assert {name: tensor.shape for name, tensor in read.items()} == today
    assert "encoder.mid_block.attentions.0.query.weight" in stored
