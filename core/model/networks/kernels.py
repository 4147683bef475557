"""The same sums by faster kernels: what torch would run instead is slow, or loses digits. Knows no network.

Shapes: C channels, L, M, N any other axes.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_HAS_ONEDNN = torch.backends.mkldnn.is_available()


def dense(layer: nn.Linear, states: Tensor) -> Tensor:
    """`layer(states)`, states [..., inputs] -> [..., outputs].

    torch computes float32 matrix products of a CPU with MKL, which runs at a half to a quarter of oneDNN's speed on
    processors of another make; torch carries oneDNN as well, for convolutions.
    """
    if _infers_on_cpu(states):
        return _onednn_dense(states, layer.weight, layer.bias)
    return functional.linear(states, layer.weight, layer.bias)


@torch.library.custom_op("longtake::onednn_dense", mutates_args=(), device_types="cpu")
def _onednn_dense(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The operator that torch.compile makes of dense layers on other machines; it has no gradient and no public name.

    An operator of our own around it: the compiler runs it as it is, instead of packing weights that are no constants.
    """
    out: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
    return out


@_onednn_dense.register_fake
def _shape_of_dense(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # pyright: ignore[reportUnusedFunction] - torch calls it
    del bias
    return states.new_empty((*states.shape[:-1], weight.shape[0]))


def _infers_on_cpu(states: Tensor) -> bool:
    """Inference in float32 on a CPU."""
    return not torch.is_grad_enabled() and states.device.type == "cpu" and states.dtype == torch.float32 and _HAS_ONEDNN


def normalise(layer: nn.Module, features_NCLM: Tensor) -> Tensor:
    """A group norm of features [N, C, L, M] that lie in memory with channels last.

    torch's CPU kernel for this layout subtracts squares, which loses half of the digits where a mean is large, and its
    backward pass crashes. The norm does not see a shift of a whole group: so the mean is taken off first, and gradients
    go through the other layout.
    """
    norm = cast(nn.GroupNorm, layer)
    if torch.compiler.is_compiling():  # writes a kernel of its own, exact in any layout
        return cast(Tensor, norm(features_NCLM))
    if _infers_on_cpu(features_NCLM):
        return cast(Tensor, norm(features_NCLM - _group_means(features_NCLM, norm.num_groups)))
    return cast(Tensor, norm(features_NCLM.contiguous()))


def _group_means(features_NCLM: Tensor, num_groups: int) -> Tensor:
    """The mean of each channel's group, [N, C, 1, 1]."""
    of_channels = features_NCLM.mean(dim=(2, 3), keepdim=True)
    of_groups = of_channels.unflatten(1, (num_groups, -1)).mean(dim=2)
    return of_groups.repeat_interleave(of_channels.shape[1] // num_groups, dim=1)


def lay_out_for_gpu(module: nn.Module) -> None:
    """Give convolution weights the features' layout, channels last, so that no call turns them. Values stay."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])
