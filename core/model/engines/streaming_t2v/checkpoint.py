"""The official checkpoint's key names <-> the modules of this package.

`streaming_t2v.ckpt` has six key prefixes; below them the names are diffusers' and ours, except for the patterns here.
Renames entries of any type (tensors, shapes, lazy tensors).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

_MERGER = re.compile(
    r"^base_model\.cross_attention_merger_(?:down_blocks\.(\d+)|(mid_block))\.temporal_transformer\.(.+)$"
)
_MIXER = re.compile(r"^base_model\.(.+)\.transformer_blocks\.0\.attn2\.(alpha|conv\..+|conv_ln\..+)$")
_UNET = "base_model."
_CAM = "unet."
_EXPANDER = "resampler."
_OFFICIAL_PICTURE_ENCODER = "controlnet_cond_embedding."
_PICTURE_ENCODER = "picture_encoder."


Weight = TypeVar("Weight")


@dataclass(frozen=True)
class StreamingWeights(Generic[Weight]):
    """State dicts of the five modules, under this package's names."""

    unet: dict[str, Weight]
    cam: dict[str, Weight]
    mergers: dict[str, Weight]
    mixers: dict[str, Weight]
    expander: dict[str, Weight]


def from_official(weights: Mapping[str, Weight], layer_names: tuple[str, ...]) -> StreamingWeights[Weight]:
    """Sort official keys into the five parts. `layer_names`: `ApmMixers.layer_names`.

    Keys of text encoder, image encoder and VAE are left out.
    """
    parts = StreamingWeights[Weight]({}, {}, {}, {}, {})
    for key, weight in weights.items():
        _add_weight(parts, key, weight, layer_names)
    return parts


def _add_weight(parts: StreamingWeights[Weight], key: str, weight: Weight, layer_names: tuple[str, ...]) -> None:
    """Add one official key to its module's state dict."""
    if merger := _MERGER.match(key):
        index, mid, rest = merger.groups()
        parts.mergers[f"mid.{rest}" if mid else f"skips.{index}.{rest}"] = weight
    elif mixer := _MIXER.match(key):
        layer, rest = mixer.groups()
        parts.mixers[f"mixers.{layer_names.index(layer)}.{rest}"] = weight
    elif key.startswith(_UNET):
        parts.unet[key.removeprefix(_UNET)] = weight
    elif key.startswith(_CAM):
        parts.cam[key.removeprefix(_CAM).replace(_OFFICIAL_PICTURE_ENCODER, _PICTURE_ENCODER)] = weight
    elif key.startswith(_EXPANDER):
        parts.expander[key.removeprefix(_EXPANDER)] = weight


def to_official(parts: StreamingWeights[Weight], layer_names: tuple[str, ...]) -> dict[str, Weight]:
    """Inverse of `from_official`."""
    official = {_UNET + name: weight for name, weight in parts.unet.items()}
    for name, weight in parts.cam.items():
        official[_CAM + name.replace(_PICTURE_ENCODER, _OFFICIAL_PICTURE_ENCODER)] = weight
    for name, weight in parts.mergers.items():
        place, rest = name.removeprefix("skips.").split(".", 1)
        target = "mid_block" if place == "mid" else f"down_blocks.{place}"
        official[f"{_UNET}cross_attention_merger_{target}.temporal_transformer.{rest}"] = weight
    for name, weight in parts.mixers.items():
        index, rest = name.removeprefix("mixers.").split(".", 1)
        official[f"{_UNET}{layer_names[int(index)]}.transformer_blocks.0.attn2.{rest}"] = weight
    official.update({_EXPANDER + name: weight for name, weight in parts.expander.items()})
    return official
