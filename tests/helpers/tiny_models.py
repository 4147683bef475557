"""How each shipped preset of the Hub's pipelines becomes tiny, for tests that pull, load and serve it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.helpers.animation import write_animatediff_preset, write_sparsectrl_preset
from tests.helpers.hub_presets import TinyModel
from tests.helpers.pipelines import write_i2vgen_xl, write_svd
from tests.helpers.pipelines_instruct_pix2pix import write_instruct_pix2pix

_RULE = {"multiple_of": 8, "min_side": 16, "max_side": 64, "max_pixels": 4096}
_SMALL: Mapping[str, Any] = {"height": 16, "width": 16, "max_prompt_tokens": 22}
_IMAGE_VIDEO: Mapping[str, Any] = {**_SMALL, "sizes": _RULE, "decode_chunk_size": 4}
_SVD = {"image": "IMAGE", "prompt": None}

TINY_MODELS: Mapping[str, TinyModel] = {
    "animatediff": TinyModel(
        write_animatediff_preset, {**_SMALL, "window_frames": 24, "context_length": 8, "context_stride": 4}
    ),
    "i2vgen-xl": TinyModel(write_i2vgen_xl, _IMAGE_VIDEO, {"image": "IMAGE"}),
    "instruct-pix2pix": TinyModel(write_instruct_pix2pix, {**_SMALL, "size": _RULE}, {"video": "VIDEO", "fps": 8}),
    "sparsectrl": TinyModel(write_sparsectrl_preset, _SMALL, {"image": "IMAGE"}),
    "svd": TinyModel(write_svd, _IMAGE_VIDEO, _SVD),
    "svd-xt": TinyModel(write_svd, _IMAGE_VIDEO, _SVD),
}
