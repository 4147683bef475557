"""Reads the untouched base model: its UNet as a Part to write, its tokenizer as one file.

The base is a diffusers repository (ModelScope text-to-video). Knows file formats; knows no Hub.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from core.model.convert.expected import unet_without_weights
from core.model.convert.lazy_tensor import LazyTensor
from core.model.convert.safe_file import open_checkpoint
from core.model.convert.summary import Part
from core.model.hub.clip_tokenizer import END_OF_TEXT, clip_tokenizer
from core.model.hub.json_file import read_object
from core.service.domain.errors import CheckpointMismatch

FOLDER = "first_chunk_unet"
PADDING_ID = 0
"""The published code pads with "!", the vocabulary's first token, not with the end of text."""


def base_unet(files: Mapping[str, Path]) -> Part:
    """The UNet as a Part. `files` by their names in the repository: unet/config.json and its weights.

    Raises CheckpointUnreadable, CheckpointUnsafe, CheckpointMismatch.
    """
    config = read_object(files["unet/config.json"])
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


def base_tokenizer(files: Mapping[str, Path]) -> Tokenizer:
    """CLIP's tokenizer from vocab.json and merges.txt, padding as published. Raises CheckpointUnreadable."""
    vocabulary = files["tokenizer/vocab.json"]
    padding = next((token for token, index in read_object(vocabulary).items() if index == PADDING_ID), END_OF_TEXT)
    return clip_tokenizer(vocabulary, files["tokenizer/merges.txt"], padding)
