"""From scenes to what the networks train on: the word tokenizer, and a bank of clips with cached latents.

Knows the synthetic world and the autoencoder; knows nothing of denoising.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from torch import Tensor, nn

from core.model.training import captions, parallel, sprites
from core.model.training.vae_stage import to_signal

MAX_TOKENS = 32
"""Positions of the text encoder, begin and end marks included."""

PAD, BEGIN, END, UNKNOWN = SPECIALS = ("[PAD]", "[BOS]", "[EOS]", "[UNK]")


def vocabulary() -> list[str]:
    """Every word that a caption can hold, in a stable order, after the special tokens."""
    return [*SPECIALS, *sorted(captions.all_words())]


def build_tokenizer() -> Tokenizer:
    """A word tokenizer for the plain `tokenizers` package: lower-cased, punctuation dropped, unknown words [UNK]."""
    ids = {word: index for index, word in enumerate(vocabulary())}
    tokenizer = Tokenizer(WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = cast(
        "Any",
        normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\w\s]"), " ")]
        ),
    )
    tokenizer.pre_tokenizer = cast("Any", pre_tokenizers.WhitespaceSplit())
    tokenizer.post_processor = cast(
        "Any",
        processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=[(BEGIN, ids[BEGIN]), (END, ids[END])]),
    )
    return tokenizer


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Token ids [B, MAX_TOKENS], padded with [PAD]; a caption of this world always fits."""
    rows = [tokenizer.encode(text).ids for text in texts]
    return torch.tensor([row + [0] * (MAX_TOKENS - len(row)) for row in rows])


class ClipBank:
    """Clips of the world as cached latents, with the scenes they came from.

    `latents` is float16 [K, T, C, H, W] in the autoencoder's own scale. Clip i is drawn from (seed, i) alone.
    """

    def __init__(self, scenes: list[sprites.Scene], latents: Tensor) -> None:
        self.scenes = scenes
        self.latents_ktchw = latents
        alike = [clip for clip, scene in enumerate(scenes) if sprites.has_alike_colours(scene)]
        self._alike = {start: [clip for clip in alike if begins_at_entry(clip) == start] for start in (True, False)}

    def batch(
        self,
        rng: np.random.Generator,
        size: int,
        frames: int,
        beginnings: float = 0.5,
        alike: float = 0.0,
        *,
        say_later: bool = True,
    ) -> tuple[Tensor, list[str]]:
        """Draw windows: latents [B, T, C, H, W] float32 and their captions.

        A share of `beginnings` starts with frame 0 of its scene. The others start later, and say so where `say_later`;
        half of them are played backwards, with the motion they then show in the caption. A share of `alike` is drawn
        from the scenes of two objects of alike colours alone: taking one for the other costs so little that it is else
        learnt last.
        """
        windows: list[Tensor] = []
        texts: list[str] = []
        for _ in range(size):
            clip = 2 * int(rng.integers(len(self.scenes) // 2)) + int(rng.random() >= beginnings)
            if alike and (hard := self._alike[begins_at_entry(clip)]) and rng.random() < alike:
                clip = hard[int(rng.integers(len(hard)))]
            last_first = self.latents_ktchw.shape[1] - frames
            first = 0 if begins_at_entry(clip) else int(rng.integers(last_first + 1))
            window = self.latents_ktchw[clip, first : first + frames].float()
            scene = self.scenes[clip]
            reverse = sprites.reversed_scene(scene, frames)
            start = begins_at_entry(clip) and first == 0
            if reverse is not None and not start and rng.random() < 0.5:
                window, scene = window.flip(0), reverse
            windows.append(window)
            texts.append(captions.caption(scene, rng, from_the_start=start or not say_later))
        return torch.stack(windows), texts


def bank_scenes(seed: int, clips: int, two_sprites_share: float = sprites.TWO_SPRITES_SHARE) -> list[sprites.Scene]:
    """The scenes of a bank: clip i depends on (seed, i) only, so a larger bank begins with the smaller one."""
    return [_bank_scene(seed, index, two_sprites_share) for index in range(clips)]


def begins_at_entry(clip: int) -> bool:
    """Every other clip of a bank begins with its scene; the rest begin at any later moment."""
    return clip % 2 == 0


def _bank_scene(seed: int, index: int, two_sprites_share: float) -> sprites.Scene:
    rng = np.random.default_rng((seed, 77, index))
    scene = sprites.sample_scene(rng, two_sprites_share=two_sprites_share)
    return scene if begins_at_entry(index) else sprites.later(scene, int(rng.integers(1, 200)))


def build_bank(
    vae: nn.Module,
    seed: int,
    clips: int,
    frames: int,
    path: Path,
    two_sprites_share: float = sprites.TWO_SPRITES_SHARE,
) -> ClipBank:
    """The bank of clips at the preset's size, kept in `path`."""

    def encode_clip(scene: sprites.Scene) -> Tensor:
        return encode_frames(vae, to_signal(sprites.render(scene, frames)))

    scenes = bank_scenes(seed, clips, two_sprites_share)
    facts = bank_facts(vae, seed, clips, frames) | {"two_sprites_share": str(two_sprites_share)}
    return kept_bank(scenes, encode_clip, facts, path)


def bank_facts(vae: nn.Module, seed: int, clips: int, frames: int) -> dict[str, str]:
    """Everything that the latents of any bank depend on."""
    numbers = {"seed": seed, "clips": clips, "frames": frames, "world": sprites.WORLD_VERSION}
    return {name: str(number) for name, number in numbers.items()} | {"vae": weights_digest(vae)}


def weights_digest(network: nn.Module) -> str:
    """First 16 hex digits of SHA-256 over a network's weights, in order of their names."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def kept_bank(
    scenes: list[sprites.Scene], encode_clip: Callable[[sprites.Scene], Tensor], facts: dict[str, str], path: Path
) -> ClipBank:
    """Encode every scene's clip once and keep them in `path`; a file with the same facts is used again.

    Processes that train together must all come here: each encodes its share.
    """
    if path.exists() and _facts_of(path) == facts:
        return ClipBank(scenes, load_file(path)["latents"])
    own: dict[str, Tensor] = {}

    def encode(number: int) -> None:
        own[str(number)] = encode_clip(scenes[number]).half().contiguous()

    parallel.share(f"encoding {path.stem}", len(scenes), encode)
    path.parent.mkdir(parents=True, exist_ok=True)
    shares = [path.with_name(f"{path.name}.{rank}") for rank in range(parallel.world_size())]
    save_file(own, shares[parallel.rank()])
    parallel.wait_for_all()
    clips = {number: clip for share in shares for number, clip in load_file(share).items()}
    latents = torch.stack([clips[str(number)] for number in range(len(scenes))])
    parallel.wait_for_all()
    shares[parallel.rank()].unlink()
    if parallel.rank() == 0:
        whole = path.with_name(f"{path.name}.whole")
        save_file({"latents": latents}, whole, metadata=facts)
        whole.replace(path)
    return ClipBank(scenes, latents)


def encode_frames(vae: nn.Module, frames_nchw: Tensor) -> Tensor:
    """Mean latents of frames in [-1, 1]: [N, 3, H, W] -> float [N, 4, H/8, W/8] on the CPU, not scaled."""
    device = device_of(vae)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        posterior = cast("Any", vae).encode(frames_nchw.to(device)).latent_dist
    return cast("Tensor", posterior.mean).float().cpu()


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are."""
    return next(network.parameters()).device


def _facts_of(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = cast("dict[str, Any]", json.loads(file.read(length)))
    return cast("dict[str, str]", header.get("__metadata__", {}))


def blur_wording(texts: Sequence[str], rng: np.random.Generator, chance: float) -> list[str]:
    """Replace filler words by one that no vocabulary holds, so that an unknown word does no harm later."""
    known = captions.essential_words()
    return [
        " ".join(w if w.strip(",") in known or rng.random() >= chance else UNKNOWN for w in text.split())
        for text in texts
    ]
