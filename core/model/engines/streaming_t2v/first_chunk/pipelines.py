"""Loading and running diffusers pipelines for first-chunk sources, with progress reports and cancellation.

Pipelines are untyped, hence Any.

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
    """Device and dtype of pipelines: half precision on a GPU, as published, float32 on a CPU."""

    device: torch.device
    long_work: LongWork = unannounced
    """A context manager around loading."""

    @property
    def dtype(self) -> torch.dtype:
        """dtype of all weights of a pipeline."""
        return torch.float16 if self.device.type == "cuda" else torch.float32

    @property
    def variant(self) -> str | None:
        """diffusers' `variant`, for repositories that also hold half-precision files."""
        return "fp16" if self.dtype == torch.float16 else None


def load(source: str, make: Callable[[], Any], placement: Placement) -> Any:
    """Load a pipeline with `make` and place it. Raises PresetError, naming `source`.

    On a GPU its networks are offloaded to main memory while unused, to leave GPU memory to the windows' networks.
    """
    with placement.long_work(f"loading the first-chunk source {source}"):
        with loading(f"the first-chunk source {source}"):
            pipeline = make()
        if placement.device.type == "cuda":
            pipeline.enable_model_cpu_offload(device=placement.device)
        else:
            pipeline.to(placement.device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@dataclass(frozen=True)
class StepReporter:
    """Runs one pipeline and reports its steps, counted together with those of other pipelines of the same chunk."""

    on_step: OnStep
    num_steps: int
    steps_before: int = 0
    """Steps of pipelines that have run for this chunk."""
    steps_after: int = 0
    """Steps of pipelines that will run."""

    def run(self, pipeline: Any, arguments: Mapping[str, Any]) -> Any:
        """Call the pipeline, reporting each step before it runs. Raises what `on_step` raises.

        Raises NotFinite if its decoder's output is not finite.
        """
        self._report(0)
        try:
            with _checked_decoder(pipeline):
                return pipeline(**arguments, **self._callback(pipeline))
        except BaseException:
            pipeline.maybe_free_model_hooks()  # as at its normal end: frees GPU memory for the windows
            raise

    def _callback(self, pipeline: Any) -> dict[str, Any]:
        """The callback argument that this pipeline accepts; deprecated pipelines have an older one."""
        accepted = parameters_of(pipeline)
        if "callback_on_step_end" in accepted:
            return {"callback_on_step_end": self._after_step}
        return {"callback": self._after_step_legacy} if "callback" in accepted else {}

    def _after_step(self, _pipeline: Any, step: int, _timestep: Any, changed: dict[str, Any]) -> dict[str, Any]:
        self._report(step + 1)
        return changed

    def _after_step_legacy(self, step: int, _timestep: Any, _latents: Tensor) -> None:
        self._report(step + 1)

    def _report(self, step: int) -> None:
        """Report the step about to run; there is none after the last."""
        if step < self.num_steps:
            self.on_step(self.steps_before + step, self.steps_before + self.num_steps + self.steps_after)


@contextmanager
def _checked_decoder(pipeline: Any) -> Generator[None]:
    """Check the decoder's output before the pipeline clamps it, which would turn infinity into 0 or 1."""
    decoder, check = getattr(getattr(pipeline, "vae", None), "decoder", None), FiniteCheck("chunk 0")
    if decoder is None:
        yield  # NaN is detected when the pictures are converted to frames
        return

    def see(_decoder: Any, _inputs: Any, decoded: Any) -> None:
        check.add(FIRST_CHUNK, decoded if isinstance(decoded, Tensor) else decoded[0])

    hook = decoder.register_forward_hook(see)
    try:
        yield
    finally:
        hook.remove()
    check.check()


def parameters_of(pipeline: Any) -> frozenset[str]:
    """Names of the arguments of a pipeline's `__call__`."""
    return frozenset(inspect.signature(type(pipeline).__call__).parameters)


def first_frames(source: str, frames_1F3PR: Tensor) -> Tensor:
    """The first 16 frames [16, 3, P, R] of a result, float32 on the CPU. Raises PresetError if there are fewer."""
    if frames_1F3PR.shape[1] < CHUNK_FRAMES:
        raise PresetError(
            f"{source} makes {frames_1F3PR.shape[1]} frames; a first chunk has {CHUNK_FRAMES}",
            fix="choose another first-chunk source",
        )
    return frames_1F3PR[0, :CHUNK_FRAMES].float().cpu()
