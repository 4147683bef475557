"""One weight that is NaN or infinite, in any network, fails the chunk with its name: no black frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from torch import nn

from core.model.engines.instruct_pix2pix.engine import InstructPix2PixEngine
from core.service.domain.engine import InputMedia, ignore_step
from core.service.domain.errors import NotFinite
from tests.helpers.pipelines_instruct_pix2pix import noise_video
from tests.helpers.poison import INFINITY, NAN, poisoned
from tests.unit.core.model.engines.instruct_pix2pix.conftest import edit_spec

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' Euler

PARTS: dict[str, tuple[str, Callable[[Any], nn.Module]]] = {
    "unet": ("denoiser", lambda models: models.unet),
    "text encoder": ("denoiser", lambda models: models.texts.networks[0]),
    "picture encoder": ("encoder", lambda models: models.vae.encoder),
    "decoder": ("decoder", lambda models: models.vae.decoder),
}


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize("part", PARTS)
def test_one_damaged_weight_fails_the_chunk_with_stage_and_index(
    engine: InstructPix2PixEngine, part: str, value: float
) -> None:
    stage, network_of = PARTS[part]
    spec, inputs = edit_spec(32, num_inference_steps=1), InputMedia(video=noise_video(32))
    sound = engine.next_chunk(spec, engine.start(spec, inputs), ignore_step, inputs)

    with (
        poisoned(network_of(cast(Any, engine)._models), value),
        pytest.raises(NotFinite, match=f"chunk 1, {stage}: numbers that are not finite") as caught,
    ):
        engine.next_chunk(spec, sound.state, ignore_step, inputs)

    assert caught.value.fix
    again = engine.next_chunk(spec, sound.state, ignore_step, inputs)
    assert np.isfinite(again.frames).all()
