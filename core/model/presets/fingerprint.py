"""The fingerprint: what the bytes of a video depend on besides its request. Weights, processor, versions, threads."""

import hashlib
import platform
import re
from pathlib import Path
from typing import Any

import diffusers
import torch

from core.model.checksums import file_sha256, read_sums
from core.service.domain.first_chunk_sources import SourceChoice
from core.service.engines.load_context import LoadContext
from core.service.engines.refiner import REFINER_FOLDER

_LARGE_BYTES = 64 << 20
_SAMPLES = 64
_SAMPLE_BYTES = 64 << 10


def fingerprint(preset: Path, weights: Path, device: torch.device, first_chunk: SourceChoice, *, compiled: bool) -> str:
    """What the bytes of a video depend on besides its request, in one line.

    The networks' dtype is not in it: it follows from the request's profile and the device. `preset` and `weights` are
    folders, the same one for small presets.
    """
    return "; ".join(
        [
            f"weights {weights_digest(weights)}",
            f"preset {preset_digest(preset)}",
            f"first chunk {first_chunk}",
            machine_description(device),
            *(["compiled"] if compiled else []),
        ]
    )


def pipeline_fingerprint(context: LoadContext[Any], device: torch.device, *more: str) -> str:
    """The fingerprint of an engine on a diffusers pipeline, shared weights included.

    `more`: what else its bytes depend on, such as "image model ORG/NAME COMMIT".
    """
    folders = [context.weights] if context.shared is None else [context.weights, context.shared]
    weights = " ".join(weights_digest(folder) for folder in folders)
    return "; ".join(
        [f"weights {weights}", f"preset {preset_digest(context.folder)}", *more, machine_description(device)]
    )


def preset_digest(preset: Path) -> str:
    """First 8 hex digits of SHA-256 of preset.json."""
    return hashlib.sha256((preset / "preset.json").read_bytes()).hexdigest()[:8]


def machine_description(device: torch.device) -> str:
    """What the bytes depend on in the machine: device model, library versions, threads."""
    versions = f"torch {torch.__version__}; diffusers {diffusers.__version__}"
    return f"{device_model(device)}; {versions}; threads {torch.get_num_threads()}"


def without_threads(line: str) -> str:
    """A fingerprint without the number of threads, for what may differ in the rounding of sums."""
    return re.sub(r"; threads \d+", "", line)


def weights_digest(folder: Path) -> str:
    """First 16 hex digits of SHA-256 over the configs and weights of a folder, in order of their names.

    Large files in SHA256SUMS are not hashed again: 13 GB at every start of a worker take too long. Instead the
    recorded hash is used, with the file's size and samples of its bytes, which detect a replaced file. A few bytes
    changed in place go undetected here; `longtake convert verify` finds them. A preset's refiner is left out: chunks
    do not depend on it, and it may be installed while they are made.
    """
    sums = read_sums(folder)
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if _counts(path.relative_to(folder))):
        name = file.relative_to(folder).as_posix()
        digest.update(name.encode())
        if name in sums and file.stat().st_size > _LARGE_BYTES:
            digest.update(sums[name].encode())
            digest.update(_sample(file))
        else:
            digest.update(bytes.fromhex(file_sha256(file)))
    return digest.hexdigest()[:16]


def _counts(name: Path) -> bool:
    """Whether a file of a weights folder, or of a diffusers repository (.bin), is a config or weights."""
    is_apart = name.parts[0] == REFINER_FOLDER or any(part.startswith(".") for part in name.parts)
    return name.suffix in {".safetensors", ".bin", ".json"} and not is_apart


def _sample(file: Path) -> bytes:
    """SHA-256 of a large file's size and of evenly spaced blocks, including its first and last bytes."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        for index in range(_SAMPLES):
            stream.seek((size - _SAMPLE_BYTES) * index // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.digest()


def device_model(device: torch.device) -> str:
    """Name of the GPU, or of the CPU with the instruction set that torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {_cpu_name()} {torch.backends.cpu.get_cpu_capability()}"


def _cpu_name() -> str:
    """The processor's model, as far as the system reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
