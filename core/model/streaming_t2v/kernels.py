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
        # The operator behind torch.compile's dense layers on a CPU; it has no gradient and no public name.
        out: Tensor = torch.ops.mkldnn._linear_pointwise(states, layer.weight, layer.bias, "none", [], "")
        return out
    return functional.linear(states, layer.weight, layer.bias)


def _infers_on_cpu(states: Tensor) -> bool:
    """Inference in float32 on a CPU; a compiler chooses its kernels itself."""
    return (
        not torch.compiler.is_compiling()
        and not torch.is_grad_enabled()
        and states.device.type == "cpu"
        and states.dtype == torch.float32
        and _HAS_ONEDNN
    )


def normalise(layer: nn.Module, features_NCLM: Tensor) -> Tensor:
    """A group norm of features [N, C, L, M] that lie in memory with channels last.

    torch's CPU kernel for this layout subtracts squares, which loses half of the digits where a mean is large, and its
    backward pass crashes. The norm does not see a shift of a whole group: so the mean is taken off first, and gradients
    go through the other layout.
    """
    norm = cast(nn.GroupNorm, layer)
    if _infers_on_cpu(features_NCLM):
        features_NCLM = features_NCLM - _group_means(features_NCLM, norm.num_groups)
    elif not torch.compiler.is_compiling():
        features_NCLM = features_NCLM.contiguous()
    normalised: Tensor = norm(features_NCLM)
    return normalised


def _group_means(features_NCLM: Tensor, num_groups: int) -> Tensor:
    """The mean of each channel's group, [N, C, 1, 1]."""
    of_channels = features_NCLM.mean(dim=(2, 3), keepdim=True)
    of_groups = of_channels.unflatten(1, (num_groups, -1)).mean(dim=2)
    return of_groups.repeat_interleave(of_channels.shape[1] // num_groups, dim=1)
