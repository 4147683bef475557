"""Files that all exports write: half-precision weights, tokenizers and readable JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from transformers import PreTrainedTokenizerFast

from core.model.training.sprites.word_tokenizer import BEGIN, END, MAX_TOKENS, PAD, UNKNOWN


def save_weights(module: nn.Module, path: Path) -> None:
    """Write all weights of a module to one safetensors file, in half precision."""
    weights = {name: tensor.detach().half().contiguous() for name, tensor in module.state_dict().items()}
    save_file(weights, path, metadata={"format": "pt"})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write indented JSON with a final newline."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def save_library_model(model: nn.Module, folder: Path) -> None:
    """Save a diffusers or transformers model in half precision without changing the one in memory."""
    weights = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    cast("Any", model).save_pretrained(folder, state_dict=weights)
    _halve(folder)


def _halve(folder: Path) -> None:
    """Convert files to half precision: some save methods ignore the given state dict."""

    for path in folder.glob("*.safetensors"):
        weights = {
            name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(path).items()
        }
        save_file(weights, path, metadata={"format": "pt"})


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json for the plain `tokenizers` package, and the files that transformers needs."""
    folder.mkdir(parents=True, exist_ok=True)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=MAX_TOKENS,
    )
    wrapped.save_pretrained(str(folder))
