"""What all sources that wrap a diffusers pipeline share: loading it, and steps that are seen and can be stopped.

Knows no particular pipeline. Pipelines are untyped, hence Any.

Shapes: F frames, P, R picture rows and columns.
"""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.model.engines.streaming_t2v.first_chunk.source import FIRST_CHUNK
from core.model.networks.pretrained import loading
from core.model.sampling.finite import FiniteCheck
from core.service.domain.engine import LongWork, OnStep, unannounced
from core.service.domain.errors import PresetError
from core.service.domain.frame_plan import CHUNK_FRAMES


@dataclass(frozen=True)
class Placement:
    """Where pipelines run. In half precision on a GPU, as published, and in float32 on a CPU."""

    device: torch.device
    long_work: LongWork = unannounced
    """Stands around what is loaded."""

    @property
    def dtype(self) -> torch.dtype:
        """Of all weights of a pipeline."""
        return torch.float16 if self.device.type == "cuda" else torch.float32

    @property
    def variant(self) -> str | None:
        """Which files to load of repositories that keep half-precision ones beside the others."""
        return "fp16" if self.dtype == torch.float16 else None


def load(source: str, make: Callable[[], Any], place: Placement) -> Any:
    """The pipeline that `make` loads, on its device. Raises PresetError that names `source` and says what to do.

    On a GPU its networks wait in main memory until they are used: the windows' networks keep the room.
    """
    with place.long_work(f"loading the first-chunk source {source}"):
        with loading(f"the first-chunk source {source}"):
            pipeline = make()
        if place.device.type == "cuda":
            pipeline.enable_model_cpu_offload(device=place.device)
        else:
            pipeline.to(place.device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@dataclass(frozen=True)
class StepReporter:
    """The steps of one pipeline, numbered among those of the pipelines that work for the chunk before and after it."""

    on_step: OnStep
    num_steps: int
    before: int = 0
    after: int = 0

    def run(self, pipeline: Any, arguments: Mapping[str, Any]) -> Any:
        """Call the pipeline and report each of its steps before it is made. What on_step raises goes through.

        Raises NotFinite where its decoder gives other numbers.
        """
        self._report(0)
        try:
            with _checked(pipeline):
                return pipeline(**arguments, **self._callback(pipeline))
        except BaseException:
            pipeline.maybe_free_model_hooks()  # as it does at its own end: the GPU's memory is the windows'
            raise

    def _callback(self, pipeline: Any) -> dict[str, Any]:
        """The callback in the form that this pipeline takes; deprecated ones know the old form only."""
        accepted = parameters_of(pipeline)
        if "callback_on_step_end" in accepted:
            return {"callback_on_step_end": self._at_end}
        return {"callback": self._at_end_in_the_old_form} if "callback" in accepted else {}

    def _at_end(self, _pipeline: Any, step: int, _timestep: Any, changed: dict[str, Any]) -> dict[str, Any]:
        self._report(step + 1)
        return changed

    def _at_end_in_the_old_form(self, step: int, _timestep: Any, _latents: Tensor) -> None:
        self._report(step + 1)

    def _report(self, step: int) -> None:
        """A step about to be made; after the last one there is none."""
        if step < self.num_steps:
            self.on_step(self.before + step, self.before + self.num_steps + self.after)


@contextmanager
def _checked(pipeline: Any) -> Generator[None]:
    """Sees what the decoder gives, which the pipeline clamps: of infinity that would make a bright or dark spot."""
    decoder, check = getattr(getattr(pipeline, "vae", None), "decoder", None), FiniteCheck("chunk 0")
    if decoder is None:
        yield  # what is NaN is found when the pictures become frames
        return

    def see(_decoder: Any, _given: Any, decoded: Any) -> None:
        check.add(FIRST_CHUNK, decoded if isinstance(decoded, Tensor) else decoded[0])

    hook = decoder.register_forward_hook(see)
    try:
        yield
    finally:
        hook.remove()
    check.check()


def parameters_of(pipeline: Any) -> frozenset[str]:
    """Names that a pipeline's call takes."""
    return frozenset(inspect.signature(type(pipeline).__call__).parameters)


def first_frames(source: str, frames_1F3PR: Tensor) -> Tensor:
    """The first 16 frames [16, 3, P, R] of a pipeline's result, float32 on the CPU. Raises PresetError."""
    if frames_1F3PR.shape[1] < CHUNK_FRAMES:
        raise PresetError(
            f"{source} makes {frames_1F3PR.shape[1]} frames; a first chunk has {CHUNK_FRAMES}",
            fix="choose another first-chunk source",
        )
    return frames_1F3PR[0, :CHUNK_FRAMES].float().cpu()
