"""Tensors computed from weights (joined, packed, summed), kept for inference on CPUs.

They are no parameters or buffers, so no checkpoint holds them, and they are made again after the weights have changed
or moved. Only CPU weights are kept: on a GPU copies would stay there after networks have been moved to main memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class _Kept:
    """A derived tensor, and the weights it was made of."""

    sources: tuple[Tensor, ...]
    """Aliases: they keep the memory of the weights, so that no other weights can get its address."""
    versions: tuple[int, ...]
    value: Tensor

    def is_of(self, weights: tuple[Tensor, ...]) -> bool:
        """Whether these weights are the same memory, unchanged since."""
        for source, version, weight in zip(self.sources, self.versions, weights, strict=True):
            if weight._version != version or weight.data_ptr() != source.data_ptr():
                return False
        return True


_kept: WeakKeyDictionary[nn.Module, dict[str, _Kept]] = WeakKeyDictionary()


def derived(owner: nn.Module, name: str, weights: tuple[Tensor, ...], make: Callable[[], Tensor]) -> Tensor:
    """`make()`, computed once for these weights of the module `owner`; `name` tells its derived tensors apart.

    While compiling, with gradients, and for weights that cannot be watched (`is_watchable`),
    it is computed at every call. Two threads may compute it both; they get the same numbers.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or not all(map(is_watchable, weights)):
        return make()
    of_owner = _kept.setdefault(owner, {})
    found = of_owner.get(name)
    if found is not None and found.is_of(weights):
        return found.value
    with torch.inference_mode(False), torch.no_grad():
        made = _Kept(tuple(each.detach() for each in weights), tuple(each._version for each in weights), make())
    of_owner[name] = made
    return made.value


def is_watchable(weight: Tensor) -> bool:
    """Whether every change of a weight can be seen: of frozen parameters on a CPU. Fused optimisers change those in
    training without a new version, and weights with an attached adapter are new tensors at each call."""
    frozen = isinstance(weight, nn.Parameter) and not weight.requires_grad
    return frozen and weight.device.type == "cpu" and not weight.is_inference()
