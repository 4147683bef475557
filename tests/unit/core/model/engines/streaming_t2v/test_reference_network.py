"""The reference network is diffusers' own forward, and leaves the network as it was."""

import pytest
import torch

from core.model.engines.streaming_t2v.network import StreamingNetwork
from tests.helpers.reference_network import (
    ExplicitAttention,
    ReferenceNetwork,
    explicit_attention,
    guided,
)


def make_inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Latents of 16 frames, a timestep and text for the tiny network."""
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 16, 8, 12, generator=generator)
    return latents, torch.tensor(321), torch.randn(2, 6, 12, generator=generator)


@torch.no_grad()
def test_without_memory_it_is_diffusers_forward_bit_for_bit(tiny_network: StreamingNetwork) -> None:
    latents, timestep, text = make_inputs()

    plain = ReferenceNetwork(tiny_network).predict(latents, timestep, text, None, None)

    tiny_network.eject()
    with explicit_attention(tiny_network.unet):
        expected = tiny_network.unet(latents, timestep, text).sample
    assert torch.equal(plain, expected)


@torch.no_grad()
def test_it_puts_every_attention_layer_back(tiny_network: StreamingNetwork) -> None:
    before = dict(tiny_network.unet.attn_processors)

    with explicit_attention(tiny_network.unet):
        assert {type(layer) for layer in tiny_network.unet.attn_processors.values()} == {ExplicitAttention}

    assert tiny_network.unet.attn_processors == before


@pytest.mark.parametrize(("scale", "batch"), [(1.0, 1), (7.5, 2)])
def test_guided_denoiser_asks_the_network_once_with_the_right_batch(scale: float, batch: int) -> None:
    shapes: list[tuple[int, ...]] = []

    def predict(x: torch.Tensor, timestep: int) -> torch.Tensor:
        shapes.append(tuple(x.shape))
        return x * timestep

    result = guided(predict, scale)(torch.ones(1, 2), 3)

    assert shapes == [(batch, 2)]
    assert result.tolist() == [[3.0, 3.0]]
