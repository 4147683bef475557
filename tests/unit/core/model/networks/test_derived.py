"""Tensors kept for CPUs follow their weights, and no checkpoint or gradient sees them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from core.model.networks.derived import derived
from core.model.networks.kernels import convolve, dense, dense_added, gated_gelu, normalise


class Doubled:
    """A layer's weight times two, and how often it was computed."""

    def __init__(self) -> None:
        self.layer = nn.Linear(3, 2).requires_grad_(False)
        self.calls = 0

    def __call__(self) -> Tensor:
        return derived(self.layer, "doubled", (self.layer.weight,), self._make)

    def _make(self) -> Tensor:
        self.calls += 1
        return self.layer.weight * 2


@torch.no_grad()
def test_it_is_computed_once_and_again_after_a_change() -> None:
    doubled = Doubled()
    changes = [
        lambda: None,
        lambda: doubled.layer.weight.add_(1.0),
        lambda: setattr(doubled.layer.weight, "data", torch.randn(2, 3)),
        lambda: doubled.layer.load_state_dict({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}),
        lambda: setattr(doubled.layer, "weight", nn.Parameter(torch.randn(2, 3), requires_grad=False)),
    ]
    for calls, change in enumerate(changes, start=1):
        change()
        for _ in range(2):
            assert torch.equal(doubled(), doubled.layer.weight * 2)
        assert doubled.calls == calls


def test_gradients_pass_and_nothing_is_kept_in_the_module() -> None:
    doubled = Doubled()
    with torch.inference_mode():
        doubled()
    doubled.layer.requires_grad_(True)
    doubled().sum().backward()
    assert doubled.layer.weight.grad is not None
    assert set(doubled.layer.state_dict()) == {"weight", "bias"}


def test_weights_of_inference_mode_are_read_at_every_call() -> None:
    with torch.inference_mode():
        doubled = Doubled()
        assert [torch.equal(doubled(), doubled.layer.weight * 2) for _ in range(2)] == [True, True]
        doubled.layer.weight.add_(1.0)
        assert torch.equal(doubled(), doubled.layer.weight * 2)


def test_weights_in_training_are_read_at_every_call() -> None:
    """A fused optimiser changes them without a new version."""
    convolution = nn.Conv2d(3, 2, 3)
    optimiser = torch.optim.AdamW(convolution.parameters(), lr=0.5, fused=True)
    features = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    for _ in range(2):
        with torch.no_grad():
            torch.testing.assert_close(convolve(convolution, features), convolution(features), atol=1e-5, rtol=1e-5)
        convolution(features).sum().backward()
        optimiser.step()


@torch.no_grad()
def test_weights_with_an_adapter_are_read_at_every_call() -> None:
    convolution = nn.Conv2d(3, 2, 3).requires_grad_(False)
    original = convolution.weight
    parametrize.register_parametrization(convolution, "weight", Negated(), unsafe=True)
    features = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last)
    for _ in range(2):
        expected = nn.functional.conv2d(features, -original, convolution.bias)
        torch.testing.assert_close(convolve(convolution, features), expected, atol=1e-5, rtol=1e-5)
        original.add_(0.5)


class Negated(nn.Module):
    """The weight with the other sign."""

    def forward(self, weight: Tensor) -> Tensor:
        return -weight


@torch.no_grad()
def test_layers_equal_those_of_torch_under_autocast_too() -> None:
    torch.manual_seed(0)
    features = (torch.randn(8, 16, 16, 8) + 5.0).contiguous(memory_format=torch.channels_last)
    norm = nn.GroupNorm(4, 16)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(normalise(norm, features), norm(features), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_convolution_is_packed_for_each_size() -> None:
    """The same numbers whichever size comes first: a job that is resumed begins with another one."""
    features = [torch.randn(n, 16, 8, 8).contiguous(memory_format=torch.channels_last) for n in (16, 32)]
    outs: list[list[Tensor]] = []
    for order in ((0, 1), (1, 0)):
        torch.manual_seed(0)
        convolution = nn.Conv2d(16, 16, 3, padding=1).requires_grad_(False)
        made = {index: convolve(convolution, features[index]) for index in order}
        outs.append([made[0], made[1]])
    assert all(torch.equal(first, second) for first, second in zip(*outs, strict=True))


@pytest.mark.parametrize("rows", [3, 4096])
@torch.no_grad()
def test_dense_layers_of_every_size_equal_those_of_torch(rows: int) -> None:
    layer, states, residual = nn.Linear(32, 48), torch.randn(rows, 32), torch.randn(rows, 48)
    values, gates = layer(states).chunk(2, dim=-1)

    torch.testing.assert_close(dense(layer, states), layer(states), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(dense_added(layer, states, residual), residual + layer(states), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(gated_gelu(layer, states), values * nn.functional.gelu(gates), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(2, 4, 4), (8, 16, 8)])
@torch.no_grad()
def test_convolutions_and_norms_of_every_size_equal_those_of_torch(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    batch, height, width = size
    features = (torch.randn(batch, 16, height, width) + 100.0).contiguous(memory_format=torch.channels_last)
    convolution, norm = nn.Conv2d(16, 8, 3, padding=1).requires_grad_(False), nn.GroupNorm(4, 16)
    exact = nn.functional.group_norm(features.double(), 4).float()

    # Numbers around 100 are themselves rounded to 8e-6.
    torch.testing.assert_close(normalise(norm, features), exact, atol=5e-5, rtol=2e-5)
    for _ in range(2):
        torch.testing.assert_close(convolve(convolution, exact), convolution(exact), atol=1e-5, rtol=1e-5)
        convolution.weight.add_(0.1)
