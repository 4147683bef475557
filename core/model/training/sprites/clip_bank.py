"""A bank of training clips of the synthetic world: scenes with their latents, encoded once and cached in a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.model.training.loop import parallel
from core.model.training.sprites import captions, world
from core.model.training.sprites.encoding import frames_to_tensor, unscaled_latents
from core.model.training.sprites.motion import reversed_scene, scene_from
from core.model.training.sprites.rendering import render
from core.model.training.sprites.scene_sampling import sample_scene


class ClipBank:
    """Scenes and their latents, float16 [K, T, C, H, W], unscaled. Clip i depends on (seed, i) only."""

    def __init__(self, scenes: list[world.Scene], latents: Tensor) -> None:
        """`latents[i]` are the encoded frames of `scenes[i]`."""
        self.scenes = scenes
        self.latents_ktchw = latents
        similar = [clip for clip, scene in enumerate(scenes) if world.has_similar_colours(scene)]
        self._similar = {
            start: [clip for clip in similar if starts_at_frame_0(clip) == start] for start in (True, False)
        }

    def batch(
        self,
        rng: np.random.Generator,
        size: int,
        frames: int,
        from_start: float = 0.5,
        similar_colours: float = 0.0,
        *,
        mark_later: bool = True,
    ) -> tuple[Tensor, list[str]]:
        """Draw windows: latents [B, T, C, H, W] float32 and their captions.

        A share `from_start` begins at frame 0 of its scene. The others begin later, and their captions say so if
        `mark_later`; half of them are reversed in time, with captions of the reversed motion. A share
        `similar_colours` is drawn only from scenes with two objects of similar colours: confusing these costs so little
        loss that it would otherwise be unlearnt last.
        """
        windows: list[Tensor] = []
        texts: list[str] = []
        for _ in range(size):
            clip = 2 * int(rng.integers(len(self.scenes) // 2)) + int(rng.random() >= from_start)
            if similar_colours and (hard := self._similar[starts_at_frame_0(clip)]) and rng.random() < similar_colours:
                clip = hard[int(rng.integers(len(hard)))]
            last_first = self.latents_ktchw.shape[1] - frames
            first = 0 if starts_at_frame_0(clip) else int(rng.integers(last_first + 1))
            window = self.latents_ktchw[clip, first : first + frames].float()
            scene = self.scenes[clip]
            reverse = reversed_scene(scene, frames)
            start = starts_at_frame_0(clip) and first == 0
            if reverse is not None and not start and rng.random() < 0.5:
                window, scene = window.flip(0), reverse
            windows.append(window)
            texts.append(captions.caption(scene, rng, from_the_start=start or not mark_later))
        return torch.stack(windows), texts


def bank_scenes(seed: int, clips: int, two_sprites_share: float = world.TWO_SPRITES_SHARE) -> list[world.Scene]:
    """The scenes of a bank. Clip i depends on (seed, i) only, so a larger bank starts with the same clips."""
    return [_bank_scene(seed, index, two_sprites_share) for index in range(clips)]


def starts_at_frame_0(clip: int) -> bool:
    """Every other clip of a bank starts at frame 0 of its scene; the rest start at a random later frame."""
    return clip % 2 == 0


def _bank_scene(seed: int, index: int, two_sprites_share: float) -> world.Scene:
    rng = np.random.default_rng((seed, 77, index))
    scene = sample_scene(rng, two_sprites_share=two_sprites_share)
    return scene if starts_at_frame_0(index) else scene_from(scene, int(rng.integers(1, 200)))


def build_bank(
    vae: nn.Module,
    seed: int,
    clips: int,
    frames: int,
    path: Path,
    two_sprites_share: float = world.TWO_SPRITES_SHARE,
) -> ClipBank:
    """The bank of clips at the preset's size, cached in `path`."""

    def encode_clip(scene: world.Scene) -> Tensor:
        return unscaled_latents(vae, frames_to_tensor(render(scene, frames)))

    scenes = bank_scenes(seed, clips, two_sprites_share)
    key = bank_key(vae, seed, clips, frames) | {"two_sprites_share": str(two_sprites_share)}
    return cached_bank(scenes, encode_clip, key, path)


def bank_key(vae: nn.Module, seed: int, clips: int, frames: int) -> dict[str, str]:
    """Everything that the latents of a bank depend on."""
    numbers = {"seed": seed, "clips": clips, "frames": frames, "world": world.WORLD_VERSION}
    return {name: str(number) for name, number in numbers.items()} | {"vae": module_digest(vae)}


def module_digest(network: nn.Module) -> str:
    """First 16 hex digits of SHA-256 over a network's weights in memory, ordered by name."""
    digest = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def cached_bank(
    scenes: list[world.Scene], encode_clip: Callable[[world.Scene], Tensor], key: dict[str, str], path: Path
) -> ClipBank:
    """Encode every scene's clip once and cache the latents in `path`; a file with the same key is reused.

    A collective operation: all processes must call it, and each encodes its share.
    """

    def encode(number: int) -> dict[str, Tensor]:
        return {"latents": encode_clip(scenes[number]).half()}

    return ClipBank(scenes, cached_tensors(len(scenes), encode, key, path)["latents"])


def cached_tensors(
    count: int, encode: Callable[[int], dict[str, Tensor]], key: dict[str, str], path: Path
) -> dict[str, Tensor]:
    """Named tensors of all numbers below `count`, stacked, and cached in `path`; a file with the same key is reused.

    A collective operation: all processes must call it, and each encodes its share.
    """
    if path.exists() and _metadata(path) == key:
        return load_file(path)
    own: dict[str, Tensor] = {}

    def encode_one(number: int) -> None:
        own.update({f"{number} {name}": tensor.contiguous() for name, tensor in encode(number).items()})

    parallel.share(f"encoding {path.stem}", count, encode_one)
    path.parent.mkdir(parents=True, exist_ok=True)
    shares = [path.with_name(f"{path.name}.{rank}") for rank in range(parallel.world_size())]
    save_file(own, shares[parallel.rank()])
    parallel.wait_for_all()
    encoded = {name: tensor for share in shares for name, tensor in load_file(share).items()}
    names = {name.partition(" ")[2] for name in encoded}
    stacked = {name: torch.stack([encoded[f"{number} {name}"] for number in range(count)]) for name in sorted(names)}
    parallel.wait_for_all()
    shares[parallel.rank()].unlink()
    if parallel.rank() == 0:
        whole = path.with_name(f"{path.name}.whole")
        save_file(stacked, whole, metadata=key)
        whole.replace(path)
    return stacked


def _metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file, read from its header."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = cast("dict[str, Any]", json.loads(file.read(length)))
    return cast("dict[str, str]", header.get("__metadata__", {}))
