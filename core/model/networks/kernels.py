"""Faster or more precise kernels for layers that torch runs slowly or with a loss of precision.

Shapes: C channels; L, M, N other axes.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

_HAS_ONEDNN = torch.backends.mkldnn.is_available()


def dense(layer: nn.Linear, states: Tensor) -> Tensor:
    """`layer(states)`, states [..., inputs] -> [..., outputs].

    torch multiplies float32 matrices on CPUs with MKL, which on processors not made by Intel has a half to a quarter of
    the speed of oneDNN. torch ships oneDNN, too, for convolutions.
    """
    if _infers_on_cpu(states):
        return _onednn_dense(states, layer.weight, layer.bias)
    return functional.linear(states, layer.weight, layer.bias)


@torch.library.custom_op("longtake::onednn_dense", mutates_args=(), device_types="cpu")
def _onednn_dense(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The private operator that torch.compile uses for linear layers; it has no gradient.

    Wrapped as a custom operator so that the compiler calls it as is instead of packing weights that are not constant.
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
    """Group norm of features [N, C, L, M] in channels-last memory format.

    torch's CPU kernel for this format computes E[x^2] - E[x]^2, which loses half of the digits if the mean is large,
    and its backward pass crashes. Group norm is invariant to a shift of a group, so the mean is subtracted first; with
    gradients the contiguous format is used.
    """
    norm = cast(nn.GroupNorm, layer)
    if torch.compiler.is_compiling():  # generates its own kernel, exact in any format
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
    """Store convolution weights channels-last, like the features, so that no call converts them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])
