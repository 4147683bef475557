"""The refiner's UNet (MS-Vid2Vid-XL, `non_ema_*.pth`) -> diffusers' UNet3DConditionModel: 1480 names by rule.

The file numbers blocks continuously along the down path and along the up path; in a block, module 0 is the resnet
with its temporal convolution, followed by spatial and temporal transformer.
"""

import re
from dataclasses import dataclass

from core.model.convert.lazy_tensor import Shape

_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "transformer_in": "input_blocks.0.1",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_TEMPORAL_CONVOLUTION = "temopral_conv"  # so spelt in the file
_MODULE_OF = {"resnets": 0, "temp_convs": 0, "attentions": 1, "temp_attentions": 2}
_INNER_NAME = re.compile(
    r"^(?:(down|up)_blocks\.(\d+)|mid_block)\."
    r"(resnets|temp_convs|attentions|temp_attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$"
)
_TEMPORAL_PROJECTION = re.compile(r"(^|\.)(transformer_in|temp_attentions\.\d+)\.proj_(in|out)\.weight$")


@dataclass(frozen=True)
class RefinerLayout:
    """What the file's numbering depends on."""

    layers_per_block: int
    up_attention: tuple[bool, ...]
    """Which blocks of the up path have transformers."""

    def name_of(self, name: str) -> str:
        """The file's name of a weight that diffusers calls `name`."""
        match = _INNER_NAME.match(name)
        if match is None:
            module = next(module for module in _OUTER if name.startswith(f"{module}."))
            return _OUTER[module] + name.removeprefix(module)
        direction, level, kind, layer, rest = match.groups()
        if direction is None:
            return f"middle_block.{self._mid_module(kind, int(layer))}.{_inside(kind, rest)}"
        first = int(level) * (self.layers_per_block + 1)
        if direction == "down":
            return self._down_name(first + 1, kind, int(layer), rest)
        return self._up_name(first, kind, int(layer), rest, self.up_attention[int(level)])

    @staticmethod
    def _mid_module(kind: str, layer: int) -> int:
        """resnet, transformers, resnet."""
        return 3 * layer if kind in ("resnets", "temp_convs") else _MODULE_OF[kind]

    def _down_name(self, first: int, kind: str, layer: int, rest: str) -> str:
        if kind == "downsamplers":
            return f"input_blocks.{first + self.layers_per_block}.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{first + layer}.{_MODULE_OF[kind]}.{_inside(kind, rest)}"

    def _up_name(self, first: int, kind: str, layer: int, rest: str, has_attention: bool) -> str:
        """The up path has one layer more per block; its upsampler is the last module of the last one."""
        if kind == "upsamplers":
            return f"output_blocks.{first + self.layers_per_block}.{3 if has_attention else 1}.{rest}"
        return f"output_blocks.{first + layer}.{_MODULE_OF[kind]}.{_inside(kind, rest)}"


def _inside(kind: str, rest: str) -> str:
    """The name within a module of a block."""
    if kind == "temp_convs":
        return f"{_TEMPORAL_CONVOLUTION}.{rest}"
    if kind == "resnets":
        layer, _, parameter = rest.rpartition(".")
        return f"{_RESNET[layer]}.{parameter}"
    return rest


def shape_in_refiner(name: str, shape: Shape) -> Shape:
    """The file's shape of a weight that diffusers calls `name`: temporal projections are convolutions of size 1."""
    return (*shape, 1) if _TEMPORAL_PROJECTION.search(name) else shape
