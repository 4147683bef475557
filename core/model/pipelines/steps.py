"""Runs diffusers pipelines with progress reports and cancellation. Pipelines are untyped, hence Any."""

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from torch import Tensor

from core.model.sampling.finite import FiniteCheck
from core.service.domain.engine import OnStep


@dataclass(frozen=True)
class StepReporter:
    """Runs one pipeline and reports its steps, counted together with those of other pipelines of the same chunk."""

    on_step: OnStep
    num_steps: int
    steps_before: int = 0
    """Steps of pipelines that have run for this chunk."""
    steps_after: int = 0
    """Steps of pipelines that will run."""
    chunk: str = "chunk 0"
    """The chunk and the stage, for errors.NotFinite."""
    stage: str = "first chunk"
    change_latents: Callable[[int, Tensor], Tensor] | None = None
    """What the latents become after a step, from its index and their values; None: they stay."""

    def run(self, pipeline: Any, arguments: Mapping[str, Any]) -> Any:
        """Call the pipeline, reporting each step before it runs. Raises what `on_step` raises.

        Raises NotFinite if its decoder's output is not finite.
        """
        self._report(0)
        try:
            with _checked_decoder(pipeline, self.chunk, self.stage), self._without_callback(pipeline):
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

    @contextmanager
    def _without_callback(self, pipeline: Any) -> Generator[None]:
        """Within the block, steps of a pipeline that takes no callback are counted by the calls of its UNet."""
        if self._callback(pipeline) or not hasattr(pipeline, "unet"):
            yield
            return
        calls = count()

        def before(_unet: Any, _inputs: Any) -> None:
            step = next(calls)
            if step > 0:  # the first is reported already
                self._report(step)

        hook = pipeline.unet.register_forward_pre_hook(before)
        try:
            yield
        finally:
            hook.remove()

    def _after_step(self, _pipeline: Any, step: int, _timestep: Any, changed: dict[str, Any]) -> dict[str, Any]:
        self._report(step + 1)
        if self.change_latents is None:
            return changed
        return {**changed, "latents": self.change_latents(step, changed["latents"])}

    def _after_step_legacy(self, step: int, _timestep: Any, _latents: Tensor) -> None:
        self._report(step + 1)

    def _report(self, step: int) -> None:
        """Report the step about to run; there is none after the last."""
        if step < self.num_steps:
            self.on_step(self.steps_before + step, self.steps_before + self.num_steps + self.steps_after)


@contextmanager
def _checked_decoder(pipeline: Any, chunk: str, stage: str) -> Generator[None]:
    """Check the decoder's output before the pipeline clamps it, which would turn infinity into 0 or 1."""
    decoder, check = getattr(getattr(pipeline, "vae", None), "decoder", None), FiniteCheck(chunk)
    if decoder is None:
        yield  # NaN is detected when the pictures are converted to frames
        return

    def see(_decoder: Any, _inputs: Any, decoded: Any) -> None:
        check.add(stage, decoded if isinstance(decoded, Tensor) else decoded[0])

    hook = decoder.register_forward_hook(see)
    try:
        yield
    finally:
        hook.remove()
    check.check()


def parameters_of(pipeline: Any) -> frozenset[str]:
    """Names of the arguments of a pipeline's `__call__`."""
    return frozenset(inspect.signature(type(pipeline).__call__).parameters)
