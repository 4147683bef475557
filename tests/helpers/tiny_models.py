"""How each shipped preset of the Hub's pipelines becomes tiny, for tests that pull, load and serve it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.helpers.hub_presets import TinyModel
from tests.helpers.pipelines_instruct_pix2pix import write_instruct_pix2pix

_SIZE = {"multiple_of": 4, "min_side": 16, "max_side": 64, "max_pixels": 4096}
_SMALL: Mapping[str, Any] = {"height": 16, "width": 16, "max_prompt_tokens": 22, "size": _SIZE}
_CONTROLS = ("canny", "depth", "pose", "scribble")

TINY_MODELS: Mapping[str, TinyModel] = {
    "instruct-pix2pix": TinyModel(write_instruct_pix2pix, _SMALL, {"video": "VIDEO"}),
}
