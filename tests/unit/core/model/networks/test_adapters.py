"""Adapters: nothing changes at first, and what is attached in training equals what is merged for inference."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.adapters import (
    AdaptedWeights,
    Adapter,
    adaptable_layers,
    add_difference,
    merge,
    stored_difference,
)
from core.model.training.preset_files import save_weights


class Network(nn.Module):
    """A layer of each kind; weights are read by modules and by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)
        self.blocks = nn.ModuleList([nn.Conv1d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3), nn.Conv3d(8, 8, (3, 1, 1))])
        self.small = nn.Linear(16, 1)

    def forward(self, states: Tensor) -> Tensor:
        """[8, 16] -> [8, 1]."""
        hidden = self.norm(functional.linear(states, self.embed.weight, self.embed.bias))
        hidden = hidden + self.blocks[0](hidden[None])[0]
        square = self.blocks[1](hidden.view(1, 8, 4, 4))
        cube = self.blocks[2](hidden.view(1, 8, 4, 2, 2))
        return self.small(hidden + square.sum() + cube.sum())


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return Network()


def trained_adapter(network: nn.Module, seed: int = 1) -> Adapter:
    """As if trained: no factor is zero."""
    adapter = Adapter(network, rank=2, seed=seed)
    torch.manual_seed(seed)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.1)
    return adapter


STATES = torch.randn((8, 16), generator=torch.Generator().manual_seed(5))


def test_the_factors_are_named_after_the_weights(network: Network) -> None:
    names = {
        f"{layer}.weight.{part}" for layer in ("embed", *(f"blocks.{i}" for i in range(3))) for part in ("up", "down")
    }
    assert set(Adapter(network, rank=2).state_dict()) == names
    shapes = {name: tuple(factor.shape) for name, factor in Adapter(network, rank=2).state_dict().items()}
    assert shapes["blocks.1.weight.up"] == (8, 2)
    assert shapes["blocks.1.weight.down"] == (2, 72)


@pytest.mark.parametrize(("rank", "adapted"), [(7, True), (8, False)])
def test_a_weight_that_is_no_larger_than_its_factors_gets_none(rank: int, adapted: bool) -> None:
    assert bool(adaptable_layers(nn.Sequential(nn.Linear(16, 16)), rank)) is adapted  # 256 numbers, 32 per rank


def test_an_untrained_adapter_changes_no_bit(network: Network) -> None:
    plain = network(STATES)
    AdaptedWeights(network, rank=2).use(Adapter(network, rank=2))
    assert torch.equal(network(STATES), plain)


def test_a_merged_adapter_equals_an_attached_one_and_fits_its_file(network: Network, tmp_path: Path) -> None:
    merged = Network()
    merged.load_state_dict(network.state_dict())
    adapter = trained_adapter(network)
    save_weights(adapter, tmp_path / "adapter.safetensors")
    factors = {name: factor.float() for name, factor in load_file(tmp_path / "adapter.safetensors").items()}
    adapter.load_state_dict(factors)

    merge(merged, factors)
    plain = network(STATES)
    AdaptedWeights(network, rank=2).use(adapter)

    assert torch.equal(network(STATES), merged(STATES))
    assert not torch.equal(network(STATES), plain)


def test_a_merge_into_half_precision_rounds_the_sum_only(network: Network) -> None:
    adapter = trained_adapter(network)
    exact = network.embed.weight.detach().bfloat16().float() + adapter.of_weights["embed.weight"].up.detach() @ (
        adapter.of_weights["embed.weight"].down.detach()
    )
    merge(network.bfloat16(), adapter.state_dict())
    assert torch.equal(network.embed.weight, exact.bfloat16())


def test_only_the_factors_are_trained(network: Network) -> None:
    adapter = Adapter(network, rank=2)
    AdaptedWeights(network, rank=2).use(adapter)

    network(STATES).square().sum().backward()

    assert all(parameter.grad is None and not parameter.requires_grad for parameter in network.parameters())
    assert all(difference.up.grad is not None for difference in adapter.of_weights.values())


def test_teacher_and_student_share_one_network(network: Network) -> None:
    student, teacher, plain = trained_adapter(network, 1), trained_adapter(network, 2), network(STATES)
    weights = AdaptedWeights(network, rank=2)
    weights.use(student)
    ours = network(STATES)
    with weights.using(teacher):
        theirs = network(STATES)
    with weights.using(None):
        assert torch.equal(network(STATES), plain)
    assert not torch.equal(ours, theirs)
    assert torch.equal(network(STATES), ours)


def test_factors_that_do_not_fit_are_refused_by_name(network: Network) -> None:
    factors = trained_adapter(network).state_dict()
    with pytest.raises(ValueError, match=r"norm\.weight2 is not"):
        merge(network, {"norm.weight2.up": torch.zeros(1, 2), "norm.weight2.down": torch.zeros(2, 1)})
    with pytest.raises(ValueError, match=r"embed\.weight is not"):
        merge(network, {"embed.weight.up": factors["embed.weight.up"]})
    with pytest.raises(ValueError, match=r"embed\.weight are \(15, 2\)"):
        merge(network, {**factors, "embed.weight.up": torch.zeros(15, 2)})


def test_an_adapter_without_some_of_the_weights_is_refused_and_changes_nothing(network: Network) -> None:
    factors, before = trained_adapter(network).state_dict(), network.embed.weight.detach().clone()
    with pytest.raises(ValueError, match="no factors"):
        merge(network, {})
    only_embed = {name: factor for name, factor in factors.items() if name.startswith("embed.")}
    assert len(only_embed) < len(factors)
    with pytest.raises(ValueError, match="in one of adapter and network only, at rank 2"):
        merge(network, only_embed)
    assert torch.equal(network.embed.weight, before)


@pytest.mark.parametrize("shape", [(24, 32), (24, 8, 3, 3)])
def test_a_difference_of_low_rank_is_stored_as_its_factors(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    before, width = torch.randn(shape), math.prod(shape[1:])
    after = before + (torch.randn(shape[0], 2) @ torch.randn(2, width)).view(shape)
    stored = stored_difference(before, after, rank=2)
    assert {name: factor.shape for name, factor in stored.items()} == {".up": (shape[0], 2), ".down": (2, width)}
    rebuilt = add_difference(before, stored[".up"].float(), stored[".down"].float())
    torch.testing.assert_close(rebuilt, after, atol=0.02, rtol=0.01)


@pytest.mark.parametrize(("shape", "rank"), [((24,), 2), ((4, 4), 2), ((24, 32), 16)])
def test_a_weight_that_is_no_larger_than_the_factors_is_stored_itself(shape: tuple[int, ...], rank: int) -> None:
    after = torch.randn(shape)
    stored = stored_difference(torch.zeros(shape), after, rank)
    assert list(stored) == [""]
    assert torch.equal(stored[""], after.half())
