"""What the bytes of a video depend on beside its request, in one line: weights, processor, versions, threads.

Knows files and devices; knows no network.
"""

import hashlib
import platform
from pathlib import Path

import diffusers
import torch

from core.service.first_chunk_sources import SourceChoice


def fingerprint(preset: Path, weights: Path, device: torch.device, first_chunk: SourceChoice) -> str:
    """One line of what the bytes of a video depend on beside its request.

    The networks' dtype is not in it: the request's profile and the device decide that. `preset` and `weights` are
    folders; small presets have both in one.
    """
    facts = hashlib.sha256((preset / "preset.json").read_bytes()).hexdigest()[:8]
    return "; ".join(
        [
            f"weights {weights_digest(weights)}",
            f"preset {facts}",
            f"first chunk {first_chunk}",
            device_model(device),
            f"torch {torch.__version__}",
            f"diffusers {diffusers.__version__}",
            f"threads {torch.get_num_threads()}",
        ]
    )


def weights_digest(folder: Path) -> str:
    """First 16 hex digits of SHA-256 over the preset's files, in order of their names."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in {".safetensors", ".json"}):
        digest.update(str(file.relative_to(folder)).encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def device_model(device: torch.device) -> str:
    """Name of the processor that computes, with the instruction set torch uses on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {_cpu_name()} {torch.backends.cpu.get_cpu_capability()}"


def _cpu_name() -> str:
    """The processor's model, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
