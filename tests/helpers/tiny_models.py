"""How each shipped preset of the Hub's pipelines becomes tiny, for tests that pull, load and serve it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from tests.helpers import animation
from tests.helpers.hub_presets import TinyModel
from tests.helpers.pipelines import write_i2vgen_xl, write_svd
from tests.helpers.pipelines_cogvideox import SIDE, TEXT_TOKENS, WINDOW_FRAMES, write_cogvideox
from tests.helpers.pipelines_instruct_pix2pix import write_instruct_pix2pix
from tests.helpers.pipelines_zero import write_zero_preset

_RULE = {"multiple_of": 8, "min_side": 16, "max_side": 64, "max_pixels": 4096}
_SMALL: Mapping[str, Any] = {"height": 16, "width": 16, "max_prompt_tokens": 22}
_ANIMATED: Mapping[str, Any] = {**_SMALL, "size": _RULE, "negative_prompt": "bad quality"}
_IMAGE_VIDEO: Mapping[str, Any] = {**_SMALL, "size": _RULE, "decode_chunk_size": 4}
_COGVIDEOX: Mapping[str, Any] = {
    "height": SIDE,
    "width": SIDE,
    "max_prompt_tokens": TEXT_TOKENS - 1,
    "window_frames": WINDOW_FRAMES,
}
_COGVIDEOX_SIZES = {"multiple_of": 16, "min_side": 32, "max_side": 64, "max_pixels": 4096}
_OVERLAPPING: Mapping[str, Any] = {**_COGVIDEOX, "size": _COGVIDEOX_SIZES}
_SVD = {"image": "IMAGE", "prompt": None}
_CONTROL = {"control": {"type": "canny", "video": "VIDEO"}, "fps": 8}

TINY_MODELS: Mapping[str, TinyModel] = {
    "animatediff": TinyModel(animation.write_animatediff, {**_ANIMATED, **animation.WINDOWS}),
    "cogvideox-2b": TinyModel(write_cogvideox, _OVERLAPPING),
    "cogvideox-5b": TinyModel(partial(write_cogvideox, rotary=True), _OVERLAPPING),
    "cogvideox-5b-i2v": TinyModel(partial(write_cogvideox, image=True), _COGVIDEOX, {"image": "IMAGE"}),
    "i2vgen-xl": TinyModel(write_i2vgen_xl, _IMAGE_VIDEO, {"image": "IMAGE"}),
    "instruct-pix2pix": TinyModel(write_instruct_pix2pix, {**_SMALL, "size": _RULE}, {"video": "VIDEO", "fps": 8}),
    "sparsectrl": TinyModel(animation.write_sparsectrl, _ANIMATED, {"image": "IMAGE"}),
    "svd": TinyModel(write_svd, _IMAGE_VIDEO, _SVD),
    "svd-xt": TinyModel(write_svd, _IMAGE_VIDEO, _SVD),
    "text2video-zero": TinyModel(
        partial(write_zero_preset, control=("canny", "depth", "pose", "scribble")), {**_SMALL, "size": _RULE}, _CONTROL
    ),
    "text2video-zero-xl": TinyModel(
        partial(write_zero_preset, xl=True, control=("canny", "depth")), {**_SMALL, "size": _RULE}
    ),
}
