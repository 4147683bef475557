"""Parts of Stable Diffusion 1.x, 2.x and XL from folders in diffusers' layout, and what their UNets read of a text.

Shapes: B texts or frames, L text tokens, D text width, E pooled width.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers.models.clip.modeling_clip import CLIPTextModel, CLIPTextModelWithProjection

from core.model.networks.encoders import ClipTextEncoder
from core.model.pipelines.loading import Placement, pretrained
from core.model.presets.files import read_json, read_tokenizer

Parts = Callable[[str], Path]
"""The folder of a part, such as "vae": LoadContext.part."""


@contextmanager
def on_device(placement: Placement, *networks: Any) -> Generator[None]:
    """Within the block the networks are on the device, also where they wait in main memory while unused."""
    if not placement.offloads:
        yield
        return
    _move(networks, placement.device)
    try:
        yield
    finally:
        _move(networks, torch.device("cpu"))


def _move(networks: tuple[Any, ...], device: torch.device) -> None:
    with torch.inference_mode(False):  # weights that are moved in inference mode cannot be moved again
        for network in networks:
            network.to(device)


@dataclass(frozen=True)
class TextStates:
    """What a UNet reads of texts, in its dtype."""

    states_BLD: Tensor
    pooled_BE: Tensor | None = None
    """Of Stable Diffusion XL."""

    def toward(self, other: "TextStates", shares_B: Tensor) -> "TextStates":
        """One text per share, from this one (share 0) to the other (share 1)."""
        shares = shares_B.to(self.states_BLD)
        states = torch.lerp(self.states_BLD, other.states_BLD, shares[:, None, None])
        if self.pooled_BE is None or other.pooled_BE is None:
            return TextStates(states)
        return TextStates(states, torch.lerp(self.pooled_BE, other.pooled_BE, shares[:, None]))


class TextReader(Protocol):
    """Text encoders of a model with their tokenizers."""

    @property
    def networks(self) -> tuple[Any, ...]: ...

    @property
    def max_prompt_tokens(self) -> int:
        """Tokens of the longest text, without special tokens."""
        ...

    def prompt(self, text: str) -> TextStates:
        """Of one text. Raises PromptTooLong."""
        ...

    def negative(self, text: str) -> TextStates:
        """Of one text that guidance leads away from. Raises PromptTooLong."""
        ...


class SingleReader:
    """The one text encoder of Stable Diffusion 1.x and 2.x: its last states."""

    def __init__(self, tokenizer: Tokenizer, encoder: Any) -> None:
        self._encoder = ClipTextEncoder(tokenizer, encoder)
        self.networks: tuple[Any, ...] = (encoder,)
        self.max_prompt_tokens = self._encoder.max_prompt_tokens

    def prompt(self, text: str) -> TextStates:
        return TextStates(self._encoder([text]))

    def negative(self, text: str) -> TextStates:
        return self.prompt(text)


class PairReader:
    """The two text encoders of Stable Diffusion XL: their last states but one, and the second one's pooled state."""

    def __init__(self, tokenizers: tuple[Tokenizer, Tokenizer], encoders: tuple[Any, Any]) -> None:
        self._encoders = [_PenultimateStates(*pair) for pair in zip(tokenizers, encoders, strict=True)]
        self.networks: tuple[Any, ...] = encoders
        self.max_prompt_tokens = min(encoder.max_prompt_tokens for encoder in self._encoders)

    def prompt(self, text: str) -> TextStates:
        first, second = (encoder.output(text) for encoder in self._encoders)
        states = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return TextStates(states, second.text_embeds)

    def negative(self, text: str) -> TextStates:
        """Zeros for an empty text, as the model was trained (`force_zeros_for_empty_prompt`)."""
        read = self.prompt(text)
        if text or read.pooled_BE is None:
            return read
        return TextStates(torch.zeros_like(read.states_BLD), torch.zeros_like(read.pooled_BE))


class _PenultimateStates(ClipTextEncoder):
    def output(self, text: str) -> Any:
        """All hidden states [1, L, D] of a text, and the pooled one."""
        network: Any = self._encoder
        ids = torch.tensor([self._ids(text)], device=network.device)
        return network(input_ids=ids, output_hidden_states=True)


def load_text_reader(part: Parts, dtype: torch.dtype) -> TextReader:
    """The text encoder, or both of Stable Diffusion XL. Raises PresetError."""
    first = pretrained(CLIPTextModel, part("text_encoder"), dtype)
    if not part("text_encoder_2").is_dir():
        return SingleReader(clip_tokenizer(part("tokenizer")), first)
    second = pretrained(CLIPTextModelWithProjection, part("text_encoder_2"), dtype)
    return PairReader((clip_tokenizer(part("tokenizer")), clip_tokenizer(part("tokenizer_2"))), (first, second))


def clip_tokenizer(folder: Path) -> Tokenizer:
    """tokenizer.json of a folder, padding with the token that tokenizer_config.json names, if it says nothing itself.

    Raises PresetError.
    """
    tokenizer, config = read_tokenizer(folder.parent, folder.name), folder / "tokenizer_config.json"
    if tokenizer.padding is not None or not config.is_file():
        return tokenizer
    token = read_json(config).get("pad_token")
    pad_id = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if pad_id is not None:
        tokenizer.enable_padding(pad_id=pad_id, pad_token=str(token))
    return tokenizer
