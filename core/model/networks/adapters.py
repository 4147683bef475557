"""Low-rank adapters: what distillation adds to the weights of a trained network, stored beside them.

The difference of a weight [O, I, ...] is up [O, r] @ down [r, I*...] (LoRA, arXiv 2106.09685, without a scale). In
training the networks read weight + difference, so code that takes a layer's `.weight` needs no change; for inference
the difference is added once. (PEFT wraps layers instead, and a wrapper's `.weight` is the one without difference.)

Shapes: O outputs, I inputs, r rank.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_WEIGHT = "weight"
UP = ".up"
DOWN = ".down"
"""After the name of a weight: its factors, in files."""


class LowRank(nn.Module):
    """The low-rank difference of one weight; zero at first, as `up` is."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        """For a weight [O, I, ...] of this shape, on its device."""
        super().__init__()
        inputs = weight[0].numel()
        drawn = 2 * torch.rand((rank, inputs), generator=generator) - 1
        self.up = nn.Parameter(torch.zeros((len(weight), rank), device=weight.device))
        self.down = nn.Parameter((drawn * inputs**-0.5).to(weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        """`weight` with the difference added, in float32 even under autocast."""
        with torch.autocast(weight.device.type, enabled=False):
            return add_difference(weight, self.up, self.down)


def add_difference(weight: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """weight + up @ down, summed in the precision of the factors, in the dtype of `weight`."""
    return (weight.to(up.dtype) + (up @ down).view(weight.shape)).to(weight.dtype)


def stored_difference(before: Tensor, after: Tensor, rank: int) -> dict[str, Tensor]:
    """The shortest of two forms of a weight `after` [O, I, ...] that once was `before`, in half precision.

    Either {"": after} or {".up": [O, r], ".down": [r, I*...]}: the nearest factors of the difference, by its singular
    values.
    """
    if after.ndim < 2 or rank * (len(after) + after[0].numel()) >= after.numel():
        return {"": after.detach().half().contiguous()}
    left, values, right = torch.linalg.svd((after - before).detach().float().flatten(1), full_matrices=False)
    scale = values[:rank].sqrt()
    up, down = left[:, :rank] * scale, scale[:, None] * right[:rank]
    return {UP: up.half().contiguous(), DOWN: down.half().contiguous()}


class Adapter(nn.Module):
    """The low-rank differences of a network. Its own weights are named <weight>.up and <weight>.down."""

    def __init__(self, network: nn.Module, rank: int, seed: int = 0) -> None:
        """For every weight of a linear layer or convolution that has more numbers than its two factors."""
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.of_weights: dict[str, LowRank] = {}
        for name, layer in adaptable_layers(network, rank).items():
            difference = LowRank(layer.weight, rank, generator)
            self.of_weights[f"{name}.{_WEIGHT}"] = difference
            _place(self, [*name.split("."), _WEIGHT], difference)


def _place(tree: nn.Module, path: list[str], leaf: nn.Module) -> None:
    """Add a module below `tree` under a dotted name: module names themselves have no dots."""
    *parents, last = path
    for name in parents:
        if name not in dict(tree.named_children()):
            tree.add_module(name, nn.Module())
        tree = tree.get_submodule(name)
    tree.add_module(last, leaf)


def adaptable_layers(network: nn.Module, rank: int) -> dict[str, nn.Linear]:
    """The layers whose weight has more numbers than factors of this rank, by name; convolutions are typed as linear."""
    layers: dict[str, nn.Linear] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, _LAYERS) and rank * (len(layer.weight) + layer.weight[0].numel()) < layer.weight.numel():
            layers[name] = layer  # pyright: ignore[reportArgumentType] - only `.weight` is used
    return layers


class AdaptedWeights:
    """A network, frozen, whose weights are read with the adapter in use added; without one as they are."""

    def __init__(self, network: nn.Module, rank: int) -> None:
        """Changes how `network` reads its weights, for good."""
        network.requires_grad_(False)
        self._switches: dict[str, _Switch] = {}
        for name, layer in adaptable_layers(network, rank).items():
            self._switches[f"{name}.{_WEIGHT}"] = switch = _Switch()
            parametrize.register_parametrization(layer, _WEIGHT, switch, unsafe=True)

    def use(self, adapter: Adapter | None) -> None:
        """From now on read the weights with this adapter, which was made for this network and rank."""
        for name, switch in self._switches.items():
            switch.differences = () if adapter is None else (adapter.of_weights[name],)

    @contextmanager
    def using(self, adapter: Adapter | None) -> Generator[None]:
        """Within the block read the weights with this adapter, afterwards as before."""
        before = {name: switch.differences for name, switch in self._switches.items()}
        self.use(adapter)
        try:
            yield
        finally:
            for name, switch in self._switches.items():
                switch.differences = before[name]


class _Switch(nn.Module):
    """Reads one weight with the difference in use. That is no child, so it is no parameter of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.differences: tuple[LowRank, ...] = ()

    def forward(self, weight: Tensor) -> Tensor:
        for difference in self.differences:
            weight = difference(weight)
        return weight


def merge(network: nn.Module, factors: Mapping[str, Tensor]) -> None:
    """Add an adapter's differences to the weights of `network`, in place.

    `factors`: the adapter's state dict, on the network's device; differences are summed in its precision. Raises
    ValueError if names or shapes are not those of an adapter of this network, or if there are none.
    """
    weights = dict(network.named_parameters())
    names = {name.rpartition(".")[0] for name in factors}
    if not names:
        raise ValueError("there are no factors in it")
    for name in sorted(names):
        up, down = factors.get(name + UP), factors.get(name + DOWN)
        weight = weights.get(name)
        if up is None or down is None or weight is None:
            raise ValueError(f"{name} is not a weight of the network with both factors")
        if (len(up), down[0].numel()) != (len(weight), weight[0].numel()) or up.shape[1:] != down.shape[:1]:
            raise ValueError(f"the factors of {name} are {tuple(up.shape)} and {tuple(down.shape)}")
    rank = len(factors[min(names) + DOWN])
    expected = {f"{name}.{_WEIGHT}" for name in adaptable_layers(network, rank)}
    if names != expected:
        raise ValueError(f"{min(names ^ expected)} is in one of adapter and network only, at rank {rank}")
    with torch.no_grad():
        for name in names:
            weights[name].copy_(add_difference(weights[name], factors[name + UP], factors[name + DOWN]))
