"""Names of an autoencoder: latent-diffusion checkpoints (`first_stage_model.*`), older and today's diffusers.

Maps names, shapes and views of tensors; reads nothing.
"""

import re

from core.model.convert.lazy_tensor import LazyTensor, Shape

_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_IN_A_BLOCK = (
    ("resnets.", "block."),
    ("conv_shortcut.", "nin_shortcut."),
    ("downsamplers.0.", "downsample."),
    ("upsamplers.0.", "upsample."),
)
_IN_THE_MIDDLE = (("mid_block.resnets.0.", "mid.block_1."), ("mid_block.resnets.1.", "mid.block_2."))
_LEVEL = re.compile(r"^(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(.+)$")
_MID_ATTENTION = re.compile(r"^(encoder|decoder)\.mid_block\.attentions\.0\.(.+)\.(weight|bias)$")

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD_NAME = re.compile(rf"^(.*\.mid_block\.attentions\.0\.)({'|'.join(_OLD_ATTENTION)})\.(weight|bias)$")


def ldm_name(name: str, num_levels: int) -> str:
    """The latent-diffusion name of a weight that diffusers calls `name`."""
    if match := _MID_ATTENTION.match(name):
        half, layer, kind = match.groups()
        return f"{half}.mid.attn_1.{_ATTENTION[layer]}.{kind}"
    if match := _LEVEL.match(name):
        half, direction, block, rest = match.groups()
        # The decoder's levels count from the highest resolution, diffusers' blocks in forward order.
        level = int(block) if direction == "down" else num_levels - 1 - int(block)
        return f"{half}.{direction}.{level}.{_replaced(rest, _IN_A_BLOCK)}"
    return _replaced(name, _IN_THE_MIDDLE).replace("conv_norm_out.", "norm_out.")


def shape_in_ldm(name: str, shape: Shape) -> Shape:
    """Its shape there: the attention's projections are convolutions of kernel size 1."""
    return (*shape, 1, 1) if _MID_ATTENTION.match(name) and len(shape) == 2 else shape


def modern_attention(name: str, tensor: LazyTensor) -> tuple[str, LazyTensor]:
    """A weight of an AutoencoderKL under today's name, whichever version of diffusers wrote it."""
    match = _OLD_NAME.match(name)
    if match is None:
        return name, tensor
    place, layer, kind = match.groups()
    return f"{place}{_OLD_ATTENTION[layer]}.{kind}", tensor.as_matrix() if tensor.is_pointwise else tensor


def _replaced(text: str, replacements: tuple[tuple[str, str], ...]) -> str:
    for old, new in replacements:
        text = text.replace(old, new)
    return text
