"""Folders of presets for tests: the fake engine at several speeds, with a real (tiny) tokenizer. Knows no service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from core.service.settings import SHIPPED_PRESETS_DIR

MAX_PROMPT_TOKENS = 16


def write_fake_preset(
    presets_dir: Path,
    name: str,
    *,
    engine: str = "fake",
    steps: int = 4,
    step_seconds: float = 0.0,
    accepts_image: bool = False,
    refiner: bool = False,
    words: Sequence[str] = (),
    **keys: Any,
) -> Path:
    """A preset of the engine `fake`: a chunk takes `steps` * `step_seconds`. Every word is a token, and known unless
    there are `words`.

    It refines to 128x128 if there is a `refiner`. `keys`: further ones of preset.json. The ControlNet of the first type
    of `control` is installed."""
    folder = presets_dir / name
    (folder / "tokenizer").mkdir(parents=True)
    tokenizer = Tokenizer(
        WordLevel({"[UNK]": 0} | {word: place for place, word in enumerate(words, 1)}, unk_token="[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue] - a property without a setter type
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    content: dict[str, Any] = {
        "name": name,
        "description": "a bouncing square, for tests",
        "engine": engine,
        "height": 64,
        "width": 64,
        "fps": 8,
        "max_prompt_tokens": MAX_PROMPT_TOKENS,
        "steps": steps,
        "step_seconds": step_seconds,
        "accepts_image": accepts_image,
        **keys,
    }
    for installed in keys.get("control", ())[:1]:
        (folder / "controlnet" / installed).mkdir(parents=True)
    if refiner:
        content["refiner"] = {
            "kind": "fake",
            "step_seconds": step_seconds,
            "height": 128,
            "width": 128,
            "max_side": 256,
            "strength": 0.6,
            "num_inference_steps": steps,
            "guidance_scale": 2.0,
        }
    (folder / "preset.json").write_text(json.dumps(content))
    return folder


def copy_sprites(presets_dir: Path) -> None:
    """The shipped `sprites` preset as it is now: a copy, so that a training run may replace it during the tests."""
    shutil.copytree(SHIPPED_PRESETS_DIR / "sprites", presets_dir / "sprites")


def copy_shipped(presets_dir: Path) -> None:
    """All shipped presets that need no download, as they are now."""
    for name in ("sprites", "sprites-zero", "sprites-edit"):
        shutil.copytree(SHIPPED_PRESETS_DIR / name, presets_dir / name)


def change_preset(folder: Path, **changes: object) -> None:
    """Replace keys of a preset's preset.json."""
    file = folder / "preset.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
