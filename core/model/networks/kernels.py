"""Faster or more precise kernels for layers that torch runs slowly or with a loss of precision.

Shapes: C channels; L, M, N other axes.
"""

from functools import lru_cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.model.networks.derived import derived, is_watchable

_HAS_ONEDNN = torch.backends.mkldnn.is_available()


_FEW_PRODUCTS = 2**20
"""Multiply-adds below which MKL is faster: oneDNN takes some 10 us to begin."""


def dense(layer: nn.Linear, states: Tensor) -> Tensor:
    """`layer(states)`, states [..., inputs] -> [..., outputs].

    torch multiplies float32 matrices on CPUs with MKL, which on processors not made by Intel has a half to a quarter of
    the speed of oneDNN. torch ships oneDNN, too, for convolutions.
    """
    return _linear(states, layer.weight, layer.bias)


def dense_added(layer: nn.Linear, states: Tensor, residual: Tensor) -> Tensor:
    """`residual + layer(states)`; oneDNN adds while it writes the product."""
    if _is_for_onednn(states, layer.weight) and not torch.compiler.is_compiling() and _are_alike(states, residual):
        out: Tensor = _linear_binary(states, residual, layer.weight, layer.bias, "add")
        return out
    return residual + _linear(states, layer.weight, layer.bias)


def gated_gelu(layer: nn.Linear, states: Tensor) -> Tensor:
    """states * gelu(gates), both from one layer: states [..., inputs] -> [..., outputs / 2].

    oneDNN applies both while it writes the products.
    """
    if _is_for_onednn(states, layer.weight) and not torch.compiler.is_compiling():
        value_weight, gate_weight = layer.weight.chunk(2)
        bias = cast("Tensor | None", layer.bias)
        value_bias, gate_bias = (None, None) if bias is None else bias.chunk(2)
        gates = _linear_pointwise(states, gate_weight, gate_bias, "gelu", [], "none")
        out: Tensor = _linear_binary(states, gates, value_weight, value_bias, "mul")
        return out
    values, gates = _linear(states, layer.weight, layer.bias).chunk(2, dim=-1)
    return values * functional.gelu(gates)


def _linear(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not _is_for_onednn(states, weight):
        return functional.linear(states, weight, bias)
    if torch.compiler.is_compiling():
        return _onednn_dense(states, weight, bias)
    out: Tensor = _linear_pointwise(states, weight, bias, "none", [], "")
    return out


_onednn: Any = torch.ops.mkldnn
_linear_pointwise: Any = _onednn._linear_pointwise.default if _HAS_ONEDNN else None
"""The private operator that torch.compile uses for linear layers; it has no gradient."""
_linear_binary: Any = _onednn._linear_pointwise.binary if _HAS_ONEDNN else None
"""As it, then added to another tensor or multiplied by it."""


@torch.library.custom_op("longtake::onednn_dense", mutates_args=(), device_types="cpu")
def _onednn_dense(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """oneDNN's operator as the compiler calls it: as is, instead of packing weights that are not constant.

    Only for compiling: the call of a custom operator costs more than the product of a small layer.
    """
    out: Tensor = _linear_pointwise(states, weight, bias, "none", [], "")
    return out


@_onednn_dense.register_fake
def _shape_of_dense(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # pyright: ignore[reportUnusedFunction] - torch calls it
    del bias
    return states.new_empty((*states.shape[:-1], weight.shape[0]))


def infers_on_cpu(states: Tensor) -> bool:
    """Inference in float32 on a CPU, without autocast."""
    on_cpu = states.device.type == "cpu" and states.dtype == torch.float32 and _HAS_ONEDNN
    return on_cpu and not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")


def _is_for_onednn(states: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN multiplies these faster, in inference."""
    return infers_on_cpu(states) and states.numel() * len(weight) >= _FEW_PRODUCTS


def _are_alike(states: Tensor, residual: Tensor) -> bool:
    return residual.dtype == states.dtype and residual.is_contiguous()


def convolve(convolution: nn.Conv2d | nn.Conv3d, features_NCLM: Tensor, residual_NCLM: Tensor | None = None) -> Tensor:
    """`convolution(features)`, plus `residual`; a (k, 1, 1) one of three dimensions acts on two, L and M.

    oneDNN reorders weights before every convolution; here they are kept as it wants them.
    """
    weight, bias = convolution.weight, convolution.bias
    padding, stride = cast("list[int]", list(convolution.padding[:2])), list(convolution.stride[:2])
    if infers_on_cpu(features_NCLM) and not torch.compiler.is_compiling() and is_watchable(weight):

        def pack() -> Tensor:
            plain = weight if weight.ndim == 4 else weight.squeeze(-1)
            packed: Tensor = _onednn._reorder_convolution_weight(
                plain.detach(), padding, stride, [1, 1], 1, list(features_NCLM.shape)
            )
            return packed

        # By size: oneDNN may choose another order of sums for another one, and a resumed job begins with other sizes.
        packed = derived(convolution, f"packed for {tuple(features_NCLM.shape)}", (weight,), pack)
        out: Tensor = _convolution_pointwise(features_NCLM, packed, bias, padding, stride, [1, 1], 1, "none", [], "")
    else:
        plain = weight if weight.ndim == 4 else weight.squeeze(-1)
        out = functional.conv2d(features_NCLM, plain, bias, stride, padding)
    return out if residual_NCLM is None else residual_NCLM + out


_convolution_pointwise: Any = _onednn._convolution_pointwise.default if _HAS_ONEDNN else None


def normalise(layer: nn.Module, features_NCLM: Tensor) -> Tensor:
    """Group norm of features [N, C, L, M] in channels-last memory format.

    torch's CPU kernel for this format computes E[x^2] - E[x]^2, which loses half of the digits if the mean is large,
    and its backward pass crashes. So inference on a CPU has passes of its own: the mean, then the mean square of what
    is left. With gradients the contiguous format is used.
    """
    norm = cast(nn.GroupNorm, layer)
    if torch.compiler.is_compiling():  # generates its own kernel, exact in any format
        return cast(Tensor, norm(features_NCLM))
    if not infers_on_cpu(features_NCLM):
        return cast(Tensor, norm(features_NCLM.contiguous()))
    if features_NCLM.numel() < _FEW_FEATURES:
        return cast(Tensor, norm(features_NCLM.contiguous())).contiguous(memory_format=torch.channels_last)
    return _normalise_pixels(norm, features_NCLM)


_FEW_FEATURES = 8192
"""Numbers below which changing the format twice is faster than passes of our own."""


def _normalise_pixels(norm: nn.GroupNorm, features_NCLM: Tensor) -> Tensor:
    height, width = features_NCLM.shape[2:]
    pixels_NPC = features_NCLM.permute(0, 2, 3, 1).flatten(1, 2)
    summed_N1P, groups_CC = _averages(len(pixels_NPC), height * width, norm.num_channels, norm.num_groups)
    centred_NPC = pixels_NPC - torch.matmul(torch.bmm(summed_N1P, pixels_NPC), groups_CC)
    variance_N1C = torch.matmul(torch.bmm(summed_N1P, centred_NPC.square()), groups_CC)
    scale_N1C = variance_N1C.add_(norm.eps).rsqrt_().mul_(norm.weight)
    normed_NPC = torch.addcmul(norm.bias, centred_NPC, scale_N1C)
    return normed_NPC.unflatten(1, (height, width)).permute(0, 3, 1, 2)


@lru_cache(maxsize=256)
def _averages(batch: int, num_pixels: int, channels: int, num_groups: int) -> tuple[Tensor, Tensor]:
    """Matrices whose products are means over pixels [N, 1, P], and over the channels of a group [C, C]."""
    with torch.inference_mode(False):
        per_group = channels // num_groups
        over_group = torch.full((per_group, per_group), 1.0 / per_group)
        over_pixels = torch.full((batch, 1, num_pixels), 1.0 / num_pixels)
        return over_pixels, torch.block_diag(*[over_group] * num_groups)


def lay_out_for_gpu(module: nn.Module) -> None:
    """Store convolution weights channels-last, like the features, so that no call converts them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in module.parameters():
        if weight.ndim in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.ndim])
