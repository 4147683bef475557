"""Small pipelines as the Hub's repositories have them: the files that a preset names, under exactly these names.

Made from a folder that `save_pretrained` of diffusers wrote: half precision for the variant, as many shards as the
names say, CLIP's two tokenizer files instead of one. Beside them are files that nobody asks for.
"""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from core.service.engines.hub_names import plain_name
from core.service.engines.preset import PipelineFiles

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


def write_repository(folder: Path, wanted: PipelineFiles, pipeline: Path) -> Path:
    """The files of `wanted`, made from the folder `pipeline`, and some more."""
    for name in wanted.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        _write(folder / name, name, pipeline / plain_name(name), wanted.files)
    (folder / "README.md").write_text("a model card\n")
    (folder / "v1-5-pruned.ckpt").write_bytes(b"\x80\x04never to be fetched")
    return folder


def _write(target: Path, name: str, source: Path, names: Sequence[str]) -> None:
    if source.is_file() and target.suffix != ".safetensors":
        shutil.copy(source, target)
    elif target.parent.name.startswith("tokenizer"):
        _write_tokenizer_file(target, source.parent)
    elif ".index." in target.name:
        target.write_text(json.dumps({"metadata": {}, "weight_map": _shards(name, source, names)}))
    else:
        save_file(_tensors(name, source), target)


def _tensors(name: str, source: Path) -> dict[str, Tensor]:
    """Of the whole file, or of one shard: every n-th tensor."""
    shard = _SHARD.search(name)
    tensors = load_file(source.with_name(_SHARD.sub("", source.name)))
    number, count = (int(shard[1]), int(shard[2])) if shard else (1, 1)
    chosen = sorted(tensors)[number - 1 :: count]
    is_half = ".fp16" in name
    return {key: tensors[key].half() if is_half else tensors[key] for key in chosen}


def _shards(index: str, source: Path, names: Sequence[str]) -> dict[str, str]:
    """The file of each tensor. `source` is the index's plain path."""
    folder, weights = Path(index).parent, source.with_name(source.name.removesuffix(".index.json"))
    shards = [name for name in names if Path(name).parent == folder and _SHARD.search(name)]
    return {key: Path(name).name for name in shards for key in _tensors(name, weights)}


def _write_tokenizer_file(target: Path, source: Path) -> None:
    """One of the files that `save_pretrained` leaves out."""
    config: dict[str, Any] = json.loads((source / "tokenizer_config.json").read_text())
    texts = {
        "added_tokens.json": lambda: "{}",
        "special_tokens_map.json": lambda: json.dumps({k: v for k, v in config.items() if k.endswith("_token")}),
        "vocab.json": lambda: json.dumps(_bpe(source)["vocab"]),
        "merges.txt": lambda: "\n".join(["#version: 0.2", *map(" ".join, _bpe(source)["merges"])]) + "\n",
    }
    target.write_text(texts[target.name]())


def _bpe(folder: Path) -> dict[str, Any]:
    """The model in a tokenizer.json."""
    return json.loads((folder / "tokenizer.json").read_text())["model"]
