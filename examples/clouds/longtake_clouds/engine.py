"""The engine: one window, and how it is decoded. All else is WindowEngine's."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from core.model.pipelines.latents import to_array, to_tensor
from core.model.pipelines.window_engine import Arrays, Window, WindowEngine, WindowRequest
from core.service.domain.engine import InputMedia, OnStep
from core.service.domain.schema import JobSpec
from longtake_clouds import WINDOWS

PIXELS_PER_LATENT = 8


class Clouds(WindowEngine):
    """`last` in the state is the last frame of the newest one, with which the next begins."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__(torch.device("cpu"), f"clouds 1; torch {torch.__version__}", WINDOWS)
        self._rows, self._columns = height // PIXELS_PER_LATENT, width // PIXELS_PER_LATENT

    def start_arrays(self, spec: JobSpec, inputs: InputMedia) -> Arrays:
        """Nothing: there are no input media."""
        del spec, inputs
        return {}

    def make_window(self, request: WindowRequest, on_step: OnStep) -> Window:
        steps = request.spec.num_inference_steps or 1
        latents = torch.randn(1, 3, WINDOWS.first, self._rows, self._columns, generator=request.generator)
        for step in range(steps):
            on_step(step, steps)
            if "last" in request.arrays:
                latents[0, :, 0] = torch.from_numpy(request.arrays["last"].copy())
            latents = _network(latents)
        array = to_array(latents, request.name)
        return Window(array, {"last": array[:, -1].copy()}, self.num_new_frames(request.first_frame))

    def decode(self, spec: JobSpec, latents: NDArray[Any]) -> Tensor:
        del spec
        frames = to_tensor(latents, torch.device("cpu"))[0].transpose(0, 1)
        return functional.interpolate(frames, scale_factor=PIXELS_PER_LATENT, mode="bilinear").sigmoid()


def _network(latents: Tensor) -> Tensor:
    """Here yours is called; this one makes neighbours in time and space alike."""
    return 2 * functional.avg_pool3d(functional.pad(latents, (1, 1, 1, 1, 1, 1), mode="replicate"), 3, stride=1)
