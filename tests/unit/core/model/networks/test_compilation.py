"""A compiled function takes as many shapes as the compiler, runs as it is beyond, and known shapes stay compiled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed, FailOnRecompileLimitHit

from core.model.engines.streaming_t2v.network import StreamingNetwork
from core.model.engines.streaming_t2v.sampling import SamplingConfig, VideoContext, base_denoiser
from core.model.networks.base_network import UntouchedBase
from core.model.networks.compilation import MAX_SHAPES, Compiler, EagerFallback, compile_one_graph, with_eager_fallback
from core.model.sampling.samplers import SamplingPlan
from core.model.sampling.schedules import make_schedule
from tests.helpers.compiler import reset_compiler

TORCHS_LIMIT = 8


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction] - pytest calls it
    reset_compiler()
    with torch.inference_mode():
        yield
    reset_compiler()


def double(values: Tensor) -> Tensor:
    """What is compiled here."""
    return values.sin() * 2.0


def with_backend(backend: Any, limit: int | None = None) -> Compiler:
    """As the compilers for CUDA, with a backend that a CPU has."""
    options: dict[str, Any] = {"fullgraph": True, "dynamic": False, "backend": backend, "recompile_limit": limit}
    options["isolate_recompiles"] = limit is not None
    compiler: Callable[..., Any] = torch.compile
    return lambda function: compiler(function, **options)


class CountingBackend:
    """Counts the graphs it is given and their runs; fails for inputs of a length in `refuses`."""

    def __init__(self, refuses: tuple[int, ...] = (), error: Callable[[], Exception] | None = None) -> None:
        self.graphs = 0
        self.runs = 0
        self._refuses = refuses
        self._error = error or (lambda: RuntimeError("Failed to find C compiler"))

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[Any]) -> Callable[..., Any]:
        self.graphs += 1
        if self._refuses and len(inputs[0]) in self._refuses:
            raise self._error()

        def run(*given: Any) -> Any:
            self.runs += 1
            return graph.forward(*given)

        return run


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Our own."""
    return [record.getMessage() for record in caplog.records if record.name.startswith("core.")]


def test_torch_itself_refuses_a_shape_too_many() -> None:
    compiled = with_backend("eager")(double)
    for length in range(2, 2 + TORCHS_LIMIT):
        compiled(torch.ones(length))
    with pytest.raises(FailOnRecompileLimitHit):
        compiled(torch.ones(100))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_shapes_beyond_the_limit_run_uncompiled(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    compiled = with_eager_fallback(with_backend(backend))(double)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for length in range(2, 2 + TORCHS_LIMIT + 3):
                values = torch.linspace(0, 1, length)
                assert torch.equal(compiled(values), double(values))
    told = warnings_in(caplog)
    assert len(told) == 3
    assert told[0].startswith("not compiled for 10, which is slower: FailOnRecompileLimitHit")


def test_known_shapes_stay_compiled_after_the_limit() -> None:
    backend = CountingBackend()
    compiled = with_eager_fallback(with_backend(backend))(double)
    for length in range(2, 2 + TORCHS_LIMIT + 3):
        compiled(torch.ones(length))
    assert (backend.graphs, backend.runs) == (TORCHS_LIMIT, TORCHS_LIMIT)
    for length in range(2, 2 + TORCHS_LIMIT + 3):
        compiled(torch.ones(length))
    assert (backend.graphs, backend.runs) == (TORCHS_LIMIT, 2 * TORCHS_LIMIT)


def test_the_compilers_of_gpus_take_more_shapes_than_torch_does_by_itself() -> None:
    backend = CountingBackend()
    compiled = with_eager_fallback(with_backend(backend, MAX_SHAPES))(double)
    for length in range(2, 2 + MAX_SHAPES + 1):
        compiled(torch.ones(length))
    assert backend.graphs == MAX_SHAPES > TORCHS_LIMIT


def test_networks_that_run_the_same_function_do_not_use_up_each_others_shapes() -> None:
    backends = [CountingBackend(), CountingBackend()]
    for backend in backends:
        compiled = with_eager_fallback(with_backend(backend, 3))(double)
        for length in range(2, 6):
            compiled(torch.ones(length))
    assert [backend.graphs for backend in backends] == [3, 3]


def test_a_compiler_that_fails_is_asked_once_per_shape_and_other_shapes_are_compiled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = CountingBackend(refuses=(3,))
    compiled = with_eager_fallback(with_backend(backend))(double)
    with caplog.at_level(logging.WARNING):
        for length in (3, 4, 3, 4, 3):
            assert torch.equal(compiled(torch.ones(length)), double(torch.ones(length)))
    assert (backend.graphs, backend.runs) == (2, 2)
    assert len(warnings_in(caplog)) == 1
    assert "Failed to find C compiler" in warnings_in(caplog)[0]


def test_a_broken_device_is_not_hidden() -> None:
    broken = CountingBackend(refuses=(3,), error=lambda: torch.AcceleratorError("CUDA error: launch failure"))
    with pytest.raises((torch.AcceleratorError, BackendCompilerFailed)):
        with_eager_fallback(with_backend(broken))(double)(torch.ones(3))

    def out_of_memory(values: Tensor) -> Tensor:
        raise torch.OutOfMemoryError(f"CUDA out of memory for {len(values)}")

    with pytest.raises(torch.OutOfMemoryError):
        EagerFallback(double, out_of_memory)(torch.ones(3))


def test_what_the_function_raises_by_itself_is_raised() -> None:
    def multiply(left: Tensor, right: Tensor) -> Tensor:
        return left @ right

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        with_eager_fallback(with_backend("eager"))(multiply)(torch.ones(2, 3), torch.ones(2, 3))


def test_a_compiled_function_that_fails_later_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[int] = []

    def fails_from_the_second_call_on(values: Tensor) -> Tensor:
        calls.append(len(values))
        if len(calls) > 1:
            raise RuntimeError("a graph does not replay")
        return double(values)

    function = EagerFallback(double, fails_from_the_second_call_on)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            assert torch.equal(function(torch.ones(3)), double(torch.ones(3)))
    assert calls == [3, 3]
    assert len(warnings_in(caplog)) == 1


def test_a_watcher_is_notified_of_every_compilation_and_of_nothing_else() -> None:
    told: list[str] = []

    @contextmanager
    def long_work(words: str) -> Generator[None]:
        told.append(words)
        yield
        told.append("done")

    compiled = with_eager_fallback(with_backend(CountingBackend()), long_work)(double)
    for length in (3, 3, 4, 3):
        compiled(torch.ones(length, 2))
    assert told == ["compiling for 3x2", "done", "compiling for 4x2", "done"]


def test_a_network_serves_more_sizes_than_the_compiler_takes(two_level_network: StreamingNetwork) -> None:
    net, moment, text = two_level_network, torch.tensor(500), torch.randn(1, 6, 12)
    latents = [torch.randn(1, 4, frames, 4, 4) for frames in range(2, 5)]
    with net.use_cache(net.precompute(text, None)):
        expected = [net.predict(each, moment, text) for each in latents]
        backend = CountingBackend()
        net.compile(with_eager_fallback(with_backend(backend, 2)))
        served = [net.predict(each, moment, text) for each in latents]
    assert backend.graphs == 2
    for ours, plain in zip(served, expected, strict=True):
        torch.testing.assert_close(ours, plain)


def test_a_first_chunk_is_compiled_too(two_level_network: StreamingNetwork) -> None:
    text, latents = torch.randn(2, 6, 12), torch.randn(1, 4, 16, 4, 4)
    config = SamplingConfig(SamplingPlan("ddim", 2), make_schedule(), guidance_scale=5.0)
    for network in (two_level_network, UntouchedBase(two_level_network.unet)):
        denoise = base_denoiser(network, VideoContext(network.precompute(text, None), text), config)
        plain = denoise(latents, 500)
        backend = CountingBackend()
        network.compile(with_backend(backend))
        # Guidance multiplies the rounding of both halves by up to nine.
        torch.testing.assert_close(denoise(latents, 500), plain, atol=5e-5, rtol=0)
        assert backend.runs == 1


def test_the_serving_compiler_refuses_what_is_not_one_graph() -> None:
    def breaks(values: Tensor) -> Tensor:
        print(values.sum().item())  # noqa: T201 - what breaks a graph
        return values

    with pytest.raises(Exception, match=r"print|item|graph"):
        compile_one_graph(breaks)(torch.ones(3))
    assert torch.equal(with_eager_fallback(compile_one_graph)(breaks)(torch.ones(3)), torch.ones(3))
