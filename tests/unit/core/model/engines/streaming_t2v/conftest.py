"""Small pipelines, saved once for all tests of first-chunk sources, and a request for them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.model.engines.streaming_t2v.first_chunk.source import FirstChunkRequest
from core.model.pipelines.loading import Placement
from core.model.sampling.noise import seeded
from tests.helpers.pipelines import (
    write_motion_adapter,
    write_sdxl,
    write_stable_diffusion,
    write_svd,
    write_text_to_video,
)

CPU = Placement(torch.device("cpu"))
AskFor = Callable[..., FirstChunkRequest]


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders stable_diffusion, motion_adapter, text_to_video, svd, sdxl."""
    folder = tmp_path_factory.mktemp("pipelines")
    write_stable_diffusion(folder / "stable_diffusion")
    write_motion_adapter(folder / "motion_adapter")
    write_text_to_video(folder / "text_to_video")
    write_svd(folder / "svd")
    write_sdxl(folder / "sdxl")
    return folder


def ask_for(**changed: object) -> FirstChunkRequest:
    """A request with a fresh generator; `seed` may be among what differs from the usual."""
    seed = changed.pop("seed", 7)
    fields = {"prompt": "a cat", "negative_prompt": "", "num_inference_steps": 2, "guidance_scale": 3.0, **changed}
    return FirstChunkRequest(generator=seeded(int(str(seed))), **fields)  # pyright: ignore[reportArgumentType] - the test's own words
