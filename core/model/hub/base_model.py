"""Reads the untouched base model: its UNet as a Part to write, its tokenizer as one file.

The base is a diffusers repository (ModelScope text-to-video). Knows file formats; knows no Hub.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from tokenizers import Tokenizer
from transformers import CLIPTokenizer

from core.model.convert.expected import unet_without_weights
from core.model.convert.lazy_tensor import LazyTensor
from core.model.convert.safe_file import open_checkpoint
from core.model.convert.summary import Part
from core.service.domain.errors import CheckpointMismatch, CheckpointUnreadable

FOLDER = "first_chunk_unet"
PADDING_ID = 0
"""The published code pads with "!", the vocabulary's first token, not with the end of text."""


def base_unet(files: Mapping[str, Path]) -> Part:
    """The UNet as a Part. `files` by their names in the repository: unet/config.json and its weights.

    Raises CheckpointUnreadable, CheckpointUnsafe, CheckpointMismatch.
    """
    config = _read_json(files["unet/config.json"])
    weights = next(file for name, file in files.items() if name.startswith("unet/") and not name.endswith(".json"))
    tensors = dict(open_checkpoint(weights).items())
    _check(tensors, config, weights)
    return Part(FOLDER, config, tensors)


def _check(tensors: Mapping[str, LazyTensor], config: dict[str, Any], file: Path) -> None:
    """Raises CheckpointMismatch unless names and shapes of the weights match the config."""
    try:
        network = unet_without_weights(config)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointMismatch(
            f"unet/config.json beside {file} describes no UNet3DConditionModel: {error}"
        ) from error
    expected = {name: tuple(weight.shape) for name, weight in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        raise CheckpointMismatch(
            f"{file} does not fit its config.json in {len(wrong)} weights; {name} is {found.get(name, 'missing')},"
            f" not {expected.get(name, 'known')}"
        )


def clip_tokenizer(files: Mapping[str, Path]) -> Tokenizer:
    """CLIP's tokenizer from vocab.json and merges.txt, padding as published. Raises CheckpointUnreadable."""
    merges_file = files["tokenizer/merges.txt"]
    vocabulary = _read_json(files["tokenizer/vocab.json"])
    lines = merges_file.read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    if any(len(merge) != 2 for merge in merges):
        raise CheckpointUnreadable(f"{merges_file} is damaged: a merge joins two tokens")
    try:
        built: Any = CLIPTokenizer(vocab=vocabulary, merges=cast(Any, merges))
    except Exception as error:  # tokenizers raises plain Exception for merges of tokens that are not in the vocabulary
        raise CheckpointUnreadable(f"{merges_file} does not fit vocab.json: {error}") from error
    tokenizer = Tokenizer.from_str(built.backend_tokenizer.to_str())
    tokenizer.enable_padding(pad_id=PADDING_ID, pad_token=str(tokenizer.id_to_token(PADDING_ID)))
    return tokenizer


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointUnreadable(f"{file} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointUnreadable(f"{file} is not a JSON object")
    return cast("dict[str, Any]", content)
