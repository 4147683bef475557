"""A folder of golden numbers: sidecars (`STEM.json`) beside tensors (`STEM.safetensors`), weights or their rule.

Everything is checked on the way in: checksums where there are some, that each tensor a sidecar names is there with its
shape. Knows no stem's meaning.
"""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

CHECKSUMS = "SHA256SUMS"
WEIGHTS_RULE = "weights_rule"
NETWORK_STEM = "cam_apm_unet"
"""The stem whose weights, text and sizes others use."""


class GoldenError(Exception):
    """The folder cannot be used: a file is missing, damaged, or has instructions that this code does not understand."""


class GoldenFolder:
    """The files of one folder."""

    def __init__(self, path: Path) -> None:
        """Raises GoldenError if there is no such folder."""
        if not path.is_dir():
            raise GoldenError(f"{path} is no folder")
        self._path = path

    def stems(self) -> list[str]:
        """Every stem that any file belongs to."""
        files = [*self._path.glob("*.json"), *self._path.glob("*.safetensors")]
        return sorted({file.name.split(".")[0] for file in files} - {WEIGHTS_RULE})

    def check_sums(self) -> None:
        """Compare with SHA256SUMS where present. Raises GoldenError naming every damaged or missing file."""
        listing = self._path / CHECKSUMS
        if not listing.exists():
            return
        lines = [line.split(maxsplit=1) for line in listing.read_text().splitlines() if line.strip()]
        bad = [name.lstrip("*") for digest, name in lines if _digest(self._path / name.lstrip("*")) != digest]
        if bad:
            raise GoldenError(f"damaged or missing by {CHECKSUMS}: {', '.join(bad)}")

    def sidecar(self, stem: str) -> dict[str, Any]:
        """The JSON of a stem."""
        return self._json(f"{stem}.json")

    def tensors(self, stem: str) -> dict[str, Tensor]:
        """The tensors of a stem, each in memory of its own, as its sidecar lists them.

        A view into the file lies at any address, and a matrix product's rounding depends on the alignment.
        """
        sidecar = self.sidecar(stem)
        name: str = sidecar.get("files", {}).get("io") or f"{stem}.safetensors"
        tensors = self._load(name)
        for tensor, facts in sidecar.get("tensors", {}).items():
            if tensor not in tensors:
                raise GoldenError(f"{name} lacks {tensor}, which {stem}.json names")
            if list(tensors[tensor].shape) != facts["shape"]:
                raise GoldenError(f"{name}: {tensor} is {list(tensors[tensor].shape)}, {stem}.json says {facts}")
        return tensors

    def network_weights(self) -> dict[str, Tensor]:
        """The network's weights under the official key names: stored, or made by the weights' rule."""
        name: str = self.sidecar(NETWORK_STEM).get("files", {}).get("weights") or f"{NETWORK_STEM}.weights.safetensors"
        if (self._path / name).exists():
            return self._load(name)
        if not (self._path / f"{WEIGHTS_RULE}.json").exists():
            raise GoldenError(f"neither {name} nor {WEIGHTS_RULE}.json is in {self._path}")
        return weights_by_rule(self._json(f"{WEIGHTS_RULE}.json"))

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content: Any = json.loads((self._path / name).read_text())
        except FileNotFoundError:
            raise GoldenError(f"{name} is missing in {self._path}") from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise GoldenError(f"{name} is damaged: {error}") from error
        if not isinstance(content, dict):
            raise GoldenError(f"{name} is damaged: it holds no object")
        return cast("dict[str, Any]", content)

    def _load(self, name: str) -> dict[str, Tensor]:
        try:
            return {key: tensor.clone() for key, tensor in load_file(self._path / name).items()}
        except FileNotFoundError:
            raise GoldenError(f"{name} is missing in {self._path}") from None
        except SafetensorError as error:
            raise GoldenError(f"{name} is damaged: {error}") from error


def weights_by_rule(sidecar: dict[str, Any]) -> dict[str, Tensor]:
    """Weights drawn one after the other from one seeded generator, as the sidecar's `rule` says in words."""
    seed = re.search(r"manual_seed\((\d+)\)", sidecar["rule"])
    if seed is None:
        raise GoldenError(f"{WEIGHTS_RULE}.json names no seed")
    generator = torch.Generator("cpu").manual_seed(int(seed.group(1)))
    return {name: _drawn(name, tuple(shape), scale, generator) for name, shape, scale in sidecar["order"]}


def _drawn(name: str, shape: tuple[int, ...], scale: float, generator: torch.Generator) -> Tensor:
    if name.endswith("alpha"):
        return (torch.rand(shape, generator=generator) * 2 - 1) * 1.5
    drawn = torch.randn(shape, generator=generator)
    if len(shape) >= 2:
        # One factor: rounded as for the published numbers, which decides the last bits of every result.
        return drawn * (scale / math.sqrt(math.prod(shape[1:])))
    return 1 + 0.1 * drawn if name.endswith("weight") else 0.1 * drawn


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "missing"
