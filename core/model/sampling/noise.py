"""Random noise for samplers, from CPU generators, so that a seed gives the same draws on every device.

Generators are passed in and advanced; there is no global state.

Shapes: C channels, F frames, H, W latent rows and columns.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

GeneratorState = NDArray[np.uint8]


def seeded(seed: int) -> torch.Generator:
    """A CPU generator seeded with `seed`."""
    return torch.Generator("cpu").manual_seed(seed)


def seeded_for(seed: int, stage: str) -> torch.Generator:
    """A CPU generator seeded with a hash of seed and stage, so that stages draw independent streams."""
    digest = hashlib.sha256(f"{seed}:{stage}".encode()).digest()
    return seeded(int.from_bytes(digest[:8], "big") >> 1)


def state_of(generator: torch.Generator) -> GeneratorState:
    """The generator's state as uint8 bytes."""
    state: GeneratorState = generator.get_state().numpy().copy()
    return state


def restored(state: GeneratorState) -> torch.Generator:
    """A CPU generator in the state that `state_of` returned."""
    generator = torch.Generator("cpu")
    generator.set_state(torch.from_numpy(state.copy()))
    return generator


def draw_video(generator: torch.Generator, shape_1CFHW: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal initial noise [1, C, F, H, W], float32, drawn in this layout."""
    return torch.randn(shape_1CFHW, generator=generator).to(device)


def draw_frames_first(generator: torch.Generator, shape_1CFHW: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise of a step [1, C, F, H, W], float32, drawn as [F, C, H, W] like the published sampler."""
    _, channels, frames, height, width = shape_1CFHW
    drawn_FCHW = torch.randn((frames, channels, height, width), generator=generator)
    return drawn_FCHW.transpose(0, 1).unsqueeze(0).to(device)
