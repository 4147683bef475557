"""The user's clips as the networks read them: latents and text states, computed once and cached on disk.

One file per clip and one per caption, each written atomically, so an interrupted encoding continues where it stopped.
Of several processes each encodes its share. Unusable clips are listed in a file and skipped.

Shapes: T frames, C latent channels, H, W latent rows and columns, L text tokens, D text width.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import load_file, save_file
from torch import Tensor

from core.model.networks.encoders import ClipTextEncoder
from core.model.sampling.vae import encode_frames, to_pictures
from core.model.training.clips.clip_files import Clip, ClipsError, ClipUnusable, read_frames
from core.model.training.clips.clips_data import ClipsData
from core.model.training.loop import parallel

SKIPPED = "skipped.jsonl"
"""List of the skipped clips with reasons."""
_REASON_SUFFIX = ".skipped"


@dataclass(frozen=True)
class Encoders:
    """The networks that encode clips, and a digest of their weights: other weights need another cache."""

    vae: AutoencoderKL
    encode_texts: ClipTextEncoder
    digest: str


@dataclass(frozen=True)
class Sample:
    """The batch of one step, float32 on the CPU."""

    latents_BTCHW: Tensor
    """Scaled."""
    text_states_BLD: Tensor


class ClipCache:
    """The usable clips of a folder. A batch is determined by its number and `rng`."""

    def __init__(self, folder: Path, clips: Sequence[Clip], keys: Sequence[str], seed: int) -> None:
        """`folder` holds clips/<key>.safetensors and texts/<key of caption>.safetensors. See `encode_clips`."""
        self.clips = clips
        self._folder = folder
        self._keys = keys
        self._seed = seed

    def batch(self, batch: int, size: int, frames: int, rng: np.random.Generator, text_dropout: float = 0.0) -> Sample:
        """Batch number `batch`: `size` samples of `frames` frames. Every clip is used once before any is used again.

        `rng` decides where in its clip a sample starts, and which captions are dropped.
        """
        latents: list[Tensor] = []
        states: list[Tensor] = []
        for position in range(batch * size, (batch + 1) * size):
            index = self.clip_at(position)
            clip_TCHW = self.latents(index)
            first = int(rng.integers(len(clip_TCHW) - frames + 1))
            latents.append(clip_TCHW[first : first + frames])
            states.append(self.text_states("" if rng.random() < text_dropout else self.clips[index].caption))
        return Sample(torch.stack(latents), torch.stack(states))

    def clip_at(self, position: int) -> int:
        """Index of the clip at a position of the endless order, reshuffled in every epoch."""
        epoch, index = divmod(position, len(self.clips))
        return int(_shuffled(self._seed, epoch, len(self.clips))[index])

    def latents(self, index: int) -> Tensor:
        """All latents of a clip [T, C, H, W], scaled, float32."""
        return load_file(self._folder / "clips" / f"{self._keys[index]}.safetensors")["latents"].float()

    def text_states(self, caption: str) -> Tensor:
        """Text states [L, D] of a caption, float32."""
        return load_file(self._folder / "texts" / f"{_text_key(caption)}.safetensors")["states"].float()


@lru_cache(maxsize=2)
def _shuffled(seed: int, epoch: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.random.default_rng((seed, epoch)).permutation(count)


def encode_clips(
    clips: Sequence[Clip], data: ClipsData, encoders: Encoders, root: Path, *, least_frames: int, seed: int
) -> ClipCache:
    """Encode what is not yet in the cache below `root`. Raises ClipsError if no clip can be used."""
    folder = root / _cache_name(data, encoders)
    dtype = getattr(torch, data.cache_dtype)
    clips = clips[: data.most_clips]
    keys = [_clip_key(clip) for clip in clips]

    def encode_clip(number: int) -> None:
        target = folder / "clips" / f"{keys[number]}.safetensors"
        if not target.exists() and not target.with_suffix(_REASON_SUFFIX).exists():
            _encode_clip(clips[number], data, encoders.vae, least_frames, dtype, target)

    texts = sorted({"", *(clip.caption for clip in clips)})

    def encode_text(number: int) -> None:
        target = folder / "texts" / f"{_text_key(texts[number])}.safetensors"
        if not target.exists():
            _save({"states": encoders.encode_texts([texts[number]])[0].to(dtype)}, target)

    with torch.no_grad():
        parallel.share("encoding captions", len(texts), encode_text)
        parallel.share("encoding clips", len(clips), encode_clip)
    parallel.wait_for_all()
    return _usable(folder, clips, keys, seed)


def _usable(folder: Path, clips: Sequence[Clip], keys: Sequence[str], seed: int) -> ClipCache:
    """The cache of the encoded clips; writes the list of the skipped ones. Raises ClipsError if none is left."""
    reasons = [_read_reason(folder / "clips" / f"{key}{_REASON_SUFFIX}") for key in keys]
    skipped = [{"file": clip.name, "reason": reason} for clip, reason in zip(clips, reasons, strict=True) if reason]
    list_file = folder / SKIPPED
    if parallel.rank() == 0:
        list_file.write_text("".join(json.dumps(entry) + "\n" for entry in skipped), encoding="utf-8")
        if skipped:
            first = skipped[0]
            parallel.print_once(
                f"{len(skipped)} of {len(clips)} clips are skipped, the first {first['file']} ({first['reason']});"
                f" all are listed in {list_file}"
            )
    kept = [index for index, reason in enumerate(reasons) if reason is None]
    if not kept:
        raise ClipsError(f"none of {len(clips)} clips can be used", fix=f"see the reasons in {list_file}")
    return ClipCache(folder, [clips[index] for index in kept], [keys[index] for index in kept], seed)


def _read_reason(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.exists() else None


def _encode_clip(
    clip: Clip, data: ClipsData, vae: AutoencoderKL, least_frames: int, dtype: torch.dtype, target: Path
) -> None:
    try:
        frames = read_frames(
            clip.path,
            fps=data.fps,
            height=data.height,
            width=data.width,
            least=least_frames,
            most=data.frames_per_clip,
        )
    except ClipUnusable as error:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.with_suffix(_REASON_SUFFIX).write_text(str(error), encoding="utf-8")
        return
    latents_CTHW = encode_frames(vae, to_pictures(frames).to(vae.device))
    _save({"latents": latents_CTHW.transpose(0, 1).to(dtype)}, target)


def _save(tensors: dict[str, Tensor], target: Path) -> None:
    """Write a file atomically, even if other processes write the same one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    own = target.with_name(f"{target.name}.{os.getpid()}")
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, own)
    own.replace(target)


def _cache_name(data: ClipsData, encoders: Encoders) -> str:
    """Depends on everything but the files that determines the cached numbers."""
    key = (encoders.digest, data.height, data.width, data.fps, data.frames_per_clip, data.cache_dtype)
    return f"{data.width}x{data.height}-{_digest(json.dumps(key))[:8]}"


def _clip_key(clip: Clip) -> str:
    """Depends on the file's name, size and modification time."""
    status = clip.path.stat()
    return _digest(json.dumps((clip.name, status.st_size, status.st_mtime_ns)))


def _text_key(caption: str) -> str:
    return _digest(caption)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:24]
