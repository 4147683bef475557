"""Other conditionings than CAM: they start as the base, see the past, and leave the base as it is."""

from dataclasses import dataclass

import pytest
import torch
from diffusers.models.unets.unet_3d_condition import UNet3DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from core.model.engines.streaming_t2v.network import predict_noise
from core.model.networks.base_network import predict_base
from core.model.training.base_stage import build_unet
from core.model.training.memory_stage import CONDITIONING, WINDOW, Memory, build_memory
from core.model.training.variants import Way, known_frames, padded_to_window, replace_conditioning

TRAINED_WAYS: tuple[Way, ...] = ("concat", "add", "cam")


def shrunk(pictures: Tensor) -> Tensor:
    """A stand-in for the autoencoder: four latent channels, an eighth of the size."""
    return functional.avg_pool2d(pictures, 8)[:, [0, 1, 2, 0]]


@dataclass(frozen=True)
class World:
    unet: UNet3DConditionModel
    memory: Memory
    latents: Tensor
    text: Tensor

    def predict(self, pictures: Tensor) -> Tensor:
        parts = (self.unet, self.memory.cam, self.memory.mergers)
        return predict_noise(*parts, self.latents, torch.tensor([10, 900]), self.text, None, pictures)

    @property
    def base(self) -> Tensor:
        return predict_base(self.unet, self.latents, torch.tensor([10, 900]), self.text)


def world(way: Way) -> World:
    torch.manual_seed(0)
    unet = build_unet((16, 16, 16, 16)).requires_grad_(False)
    memory = replace_conditioning(build_memory(unet, (4, 4, 4, 4), image_tokens=2), way, unet, shrunk)
    memory.mixers.layers_of(unet).inject()
    return World(unet, memory, torch.randn(2, 4, WINDOW, 16, 16), torch.randn(2, 32, 64))


def pictures() -> Tensor:
    """A bright past; its negative is a dark one."""
    return torch.rand(2, CONDITIONING, 3, 128, 128)


def unzero(memory: Memory) -> None:
    """Random values where training would have left no zeros."""
    with torch.no_grad():
        for part in (memory.cam, memory.mergers):
            for weight in part.parameters():
                if not weight.any():
                    weight.normal_(std=0.2)
        if memory.cam.conv_in.in_channels > 4:
            memory.cam.conv_in.weight[:, 4:].normal_(std=0.2)


@pytest.mark.parametrize("way", ["none", *TRAINED_WAYS])
def test_every_way_starts_as_the_base(way: Way) -> None:
    made = world(way)
    with torch.no_grad():
        torch.testing.assert_close(made.predict(pictures()), made.base, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", TRAINED_WAYS)
def test_a_trained_way_reads_the_past(way: Way) -> None:
    made = world(way)
    unzero(made.memory)
    with torch.no_grad():
        assert (made.predict(pictures()) - made.predict(-pictures())).abs().max() > 1e-5


def test_without_conditioning_nothing_is_read_and_nothing_is_trained() -> None:
    made = world("none")
    with torch.no_grad():
        assert torch.equal(made.predict(pictures()), made.predict(pictures()))
    parts = nn.ModuleList([made.memory.cam, made.memory.mergers])
    assert not any(weight.requires_grad for weight in parts.parameters())


@pytest.mark.parametrize("way", TRAINED_WAYS)
def test_gradients_reach_the_way_and_not_the_base(way: Way) -> None:
    made = world(way)
    made.predict(pictures()).square().mean().backward()
    assert all(weight.grad is None for weight in made.unet.parameters())
    trained = [*made.memory.cam.parameters(), *made.memory.mergers.parameters()]
    assert any(weight.grad is not None and weight.grad.any() for weight in trained)


@pytest.mark.parametrize("way", TRAINED_WAYS)
def test_a_single_sample_serves_both_halves_of_guidance(way: Way) -> None:
    made = world(way)
    unzero(made.memory)
    past = pictures()[0]
    with torch.no_grad():
        embedded = made.memory.cam.embed_pictures(past)
        assert len(embedded) in (CONDITIONING, WINDOW)
        parts = (made.unet, made.memory.cam, made.memory.mergers)
        halves = predict_noise(*parts, made.latents[:1], torch.tensor(500), made.text, None, past)
        twice = made.latents[:1].repeat(2, 1, 1, 1, 1)
        both = predict_noise(*parts, twice, torch.tensor(500), made.text, None, past.repeat(2, 1, 1, 1, 1))
    torch.testing.assert_close(halves, both, atol=1e-5, rtol=1e-5)


def test_frames_to_come_are_padded_and_masked() -> None:
    window = padded_to_window(torch.ones(2, CONDITIONING, 4, 3, 3), value=0.0)
    assert window.shape == (2, WINDOW, 4, 3, 3)
    assert window[:, :CONDITIONING].all()
    assert not window[:, CONDITIONING:].any()
    mask = known_frames(window.flatten(0, 1))[:, 0, 0, 0]
    assert mask.tolist() == ([1.0] * CONDITIONING + [0.0] * (WINDOW - CONDITIONING)) * 2


@pytest.mark.parametrize("way", TRAINED_WAYS)
def test_nothing_is_dropped_at_random_in_training(way: Way) -> None:
    made = world(way)
    assert torch.equal(made.predict(pictures() * 0), made.predict(pictures() * 0))
