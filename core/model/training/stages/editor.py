"""Stage `editor`: an image model that recolours the objects of a frame by instruction, with its own text encoder.

It starts from the image UNet and the shipped text encoder. Its input has the frame's latents beside the noisy ones.
Source: InstructPix2Pix (Brooks et al. 2023), sections 3.2 and 3.2.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import CLIPTextModel

from core.model.networks.encoders import ClipTextEncoder
from core.model.training.sprites import recolouring
from core.model.training.sprites.picture_bank import PictureBank
from core.model.training.sprites.recolouring import NOTHING, instruction, possible_colours
from core.model.training.sprites.word_tokenizer import hide_filler_words
from core.model.training.stages import diffusion
from core.model.training.stages.image2d import image_unet

STAGE = 12
_SAME = 0.12
"""Share of pairs that stay the same: told to, or as the object has the colour already."""


def editor_unet(channels: tuple[int, ...] = (48, 64, 48, 32)) -> UNet2DConditionModel:
    """The untrained editor: 4 channels of noisy latents, 4 of the frame's; one layer per block, as the frame helps."""
    return image_unet(channels, in_channels=8, layers=1)


def editor_weights(editor: UNet2DConditionModel, image_weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The editor's initial weights from the image UNet's, of which it has the outer layers of each block.

    The weights of the frame's channels are zero.
    """
    weights = {name: image_weights[_name_in_image_unet(name)] for name in editor.state_dict()}
    known = weights["conv_in.weight"]
    weights["conv_in.weight"] = torch.cat([known, torch.zeros_like(known)], dim=1)
    return weights


def _name_in_image_unet(name: str) -> str:
    """In the decoder of the image UNet, the last layer of a block reads what the one below it passed on."""
    if not name.startswith("up_blocks"):
        return name
    return name.replace("resnets.1.", "resnets.2.").replace("attentions.1.", "attentions.2.")


def editor_text_weights(
    encoder: CLIPTextModel, tokenizer: Tokenizer, known: Mapping[str, Tensor], known_ids: Mapping[str, int]
) -> dict[str, Tensor]:
    """The text encoder's initial weights: those of captions, with the words that both know in their new places."""
    own = encoder.state_dict()
    name = next(name for name in own if name.endswith("token_embedding.weight"))
    table = own[name].clone()
    for word, index in tokenizer.get_vocab().items():
        if word in known_ids:
            table[index] = known[name][known_ids[word]]
    return {**known, name: table}


class EditorTask:
    """Denoise the recoloured frame given the frame and an instruction.

    Text, frame, and both are each dropped with probability `dropout`, for guidance by either.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        text_encoder: CLIPTextModel,
        tokenizer: Tokenizer,
        bank: PictureBank,
        seed: int,
        batch: int,
        scale: float,
        noisy_share: float = 0.5,
        dropout: float = 0.05,
        unknown_words: float = 0.08,
    ) -> None:
        """`scale` is the scaling factor of the noisy latents; the frame's are not scaled, as in the published model."""
        self.unet = unet
        self.text_encoder = text_encoder
        self.tokenizer = tokenizer
        self.modules: dict[str, nn.Module] = {"unet": unet, "text_encoder": text_encoder}
        self.bank = bank
        self.seed = seed
        self.batch = batch
        self.scale = scale
        self.noisy_share = noisy_share
        self.dropout = dropout
        self.unknown_words = unknown_words

    def loss(self, step: int) -> Tensor:
        rng = np.random.default_rng((self.seed, STAGE, step))
        before, after, texts = self._pairs(rng)
        clean_bchw = (self.bank.latents(after) * self.scale).to(self.unet.device)
        frame_bchw = self.bank.latents(before).to(clean_bchw)
        noisy = diffusion.noised(clean_bchw, rng, self.noisy_share, self.seed * 1_000_003 + step)
        chance = rng.random(self.batch)
        texts = ["" if one < 2 * self.dropout else text for one, text in zip(chance, texts, strict=True)]
        without_frame = (chance >= self.dropout) & (chance < 3 * self.dropout)
        kept_b111 = torch.from_numpy(~without_frame).to(clean_bchw).view(-1, 1, 1, 1)
        text_bld = ClipTextEncoder(self.tokenizer, self.text_encoder)(texts)
        inputs = torch.cat([noisy.latents, frame_bchw * kept_b111], dim=1)
        prediction = cast("Any", self.unet)(inputs, noisy.timesteps, encoder_hidden_states=text_bld).sample
        return noisy.loss(prediction)

    def _pairs(self, rng: np.random.Generator) -> tuple[list[tuple[int, str]], list[tuple[int, str]], list[str]]:
        """Frames before and after, by number and colour, and the instructions."""
        before = [self.bank.draw(rng) for _ in range(self.batch)]
        drawn = [self._change(number, colour, rng) for number, colour in before]
        after = [(number, new) for (number, _), (new, _) in zip(before, drawn, strict=True)]
        essential = recolouring.essential_words()
        return before, after, hide_filler_words([text for _, text in drawn], rng, self.unknown_words, essential)

    def _change(self, number: int, colour: str, rng: np.random.Generator) -> tuple[str, str]:
        """The new colour, and the instruction."""
        scene, index = self.bank.scene(number, colour), self.bank.edited[number]
        if rng.random() < _SAME / 2:
            return colour, NOTHING[int(rng.integers(len(NOTHING)))]
        others = [other for other in possible_colours(scene, index) if other != colour]
        new = colour if rng.random() < _SAME / 2 else others[int(rng.integers(len(others)))]
        return new, instruction(scene, index, new, rng)
