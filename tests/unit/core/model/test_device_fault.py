"""Device faults are recognised by the type's module and by where they arose. Real classes of torch and redis."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis.exceptions
import torch
from torch._dynamo.exc import BackendCompilerFailed

from core.service.domain.device_fault import is_device_fault
from core.service.domain.errors import PresetError, StoreFull

NATIVE_WORDS = [
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "CUDA driver error: out of memory",
    "Triton Error [CUDA]: an illegal memory access was encountered",
]


def torch_memory() -> BaseException:
    return torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def redis_memory() -> BaseException:
    return redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")


def caught(raising: Callable[[], object]) -> Exception:
    """What it raises, with traceback, cause and context."""
    try:
        raising()
    except Exception as error:  # whatever it is, it is what the test looks at
        return error
    raise AssertionError("nothing was raised")


def raised_in(module: str, error: BaseException) -> BaseException:
    """`error` after it was raised by code of `module`."""
    code = compile("def fail(error):\n    raise error\n", f"<{module}>", "exec")
    names: dict[str, object] = {"__name__": module}
    exec(code, names)  # noqa: S102 - the traceback shall name another module
    fail = names["fail"]
    assert callable(fail)
    return caught(lambda: fail(error))


@pytest.mark.parametrize(
    "error",
    [
        torch_memory(),
        torch.OutOfMemoryError("out of memory"),
        torch.AcceleratorError("CUDA error: unspecified launch failure"),
        torch.cuda.DeferredCudaCallError("CUDA call failed lazily"),
        type("OutOfMemoryError", (torch.OutOfMemoryError,), {"__module__": "elsewhere"})("of torch by descent"),
    ],
)
def test_what_torch_raises_for_a_device_is_a_device_fault(error: BaseException) -> None:
    assert is_device_fault(error)


def test_a_full_redis_is_no_device_fault() -> None:
    assert not is_device_fault(redis_memory())


def test_a_type_of_the_same_name_from_elsewhere_is_no_device_fault() -> None:
    for name in ("OutOfMemoryError", "AcceleratorError"):
        assert not is_device_fault(type(name, (RuntimeError,), {"__module__": "torchlike.cuda"})("full"))


def test_a_store_error_made_of_a_full_redis_is_no_device_fault() -> None:
    def save() -> None:
        try:
            raise redis_memory()
        except redis.exceptions.RedisError as error:
            raise StoreFull("Redis is full") from error

    error = caught(save)
    assert isinstance(error.__cause__, redis.exceptions.OutOfMemoryError)
    assert not is_device_fault(error)


def test_a_full_redis_met_while_a_full_redis_was_handled_is_no_device_fault() -> None:
    def save() -> None:
        try:
            raise redis_memory()
        except redis.exceptions.RedisError:
            raise redis_memory()  # noqa: B904 - the implicit context is what is tested

    assert not is_device_fault(caught(save))


def test_torch_out_of_memory_met_while_a_full_redis_was_handled_is_a_device_fault() -> None:
    def compute() -> None:
        try:
            raise redis_memory()
        except redis.exceptions.RedisError:
            raise torch_memory()  # noqa: B904 - the implicit context is what is tested

    assert is_device_fault(caught(compute))


@pytest.mark.parametrize("told", ["because of it", "while it was handled", "and it was hidden"])
def test_a_store_error_after_torch_out_of_memory_does_not_hide_it(told: str) -> None:
    def record_the_try() -> None:
        try:
            raise torch_memory()
        except RuntimeError as error:
            full = StoreFull("Redis is full")
            if told == "because of it":
                raise full from error
            if told == "and it was hidden":
                raise full from None
            raise full  # noqa: B904 - the implicit context is what is tested

    assert is_device_fault(caught(record_the_try))


def test_both_cause_and_context_are_looked_at() -> None:
    def fail() -> None:
        try:
            raise torch_memory()
        except RuntimeError:
            raise StoreFull("Redis is full") from redis_memory()

    assert is_device_fault(caught(fail))


def test_members_of_groups_are_looked_at() -> None:
    full, broken = redis_memory(), torch_memory()
    assert isinstance(full, Exception)
    assert isinstance(broken, Exception)
    assert not is_device_fault(ExceptionGroup("uploads", [full, ValueError("x")]))
    assert is_device_fault(ExceptionGroup("both", [full, ExceptionGroup("inner", [broken])]))


def test_chains_that_meet_themselves_end() -> None:
    first, second = ValueError("first"), KeyError("second")
    first.__cause__, second.__context__ = second, first
    assert not is_device_fault(first)
    second.__cause__ = torch_memory()
    assert is_device_fault(first)


@pytest.mark.parametrize("words", NATIVE_WORDS)
@pytest.mark.parametrize("module", ["torch.nn.functional", "core.model.networks.blocks", "triton.runtime.driver"])
def test_native_code_that_fails_while_computing_is_a_device_fault(words: str, module: str) -> None:
    assert is_device_fault(raised_in(module, RuntimeError(words)))


@pytest.mark.parametrize(
    "module", ["worker.lanes.lane", "core.service.redis.job_store", "redis.client", "botocore.endpoint"]
)
def test_the_same_words_from_code_that_computes_nothing_are_no_device_fault(module: str) -> None:
    assert not is_device_fault(raised_in(module, RuntimeError(NATIVE_WORDS[0])))


def test_the_innermost_known_place_counts() -> None:
    def through(module: str, inner: BaseException) -> BaseException:
        return raised_in(module, inner)

    of_the_callback = through(
        "core.model.sampling.samplers", raised_in("worker.lanes.lane", RuntimeError(NATIVE_WORDS[0]))
    )
    of_the_step = through("worker.lanes.lane", raised_in("core.model.sampling.samplers", RuntimeError(NATIVE_WORDS[0])))
    assert not is_device_fault(of_the_callback)
    assert is_device_fault(of_the_step)


@pytest.mark.parametrize("kind", [ValueError, PresetError, redis.exceptions.ResponseError, OSError])
def test_native_words_in_another_type_are_no_device_fault(kind: type[Exception]) -> None:
    assert not is_device_fault(raised_in("core.model.presets", kind(NATIVE_WORDS[0])))


def test_a_device_fault_inside_the_compiler_is_reported_as_one() -> None:
    assert is_device_fault(BackendCompilerFailed(torch.compile, RuntimeError(NATIVE_WORDS[0]), None))
    assert not is_device_fault(BackendCompilerFailed(torch.compile, RuntimeError("Failed to find C compiler"), None))


def test_a_failed_step_is_no_device_fault() -> None:
    def multiply() -> None:
        torch.matmul(torch.ones(2, 3), torch.ones(2, 3))

    assert not is_device_fault(caught(multiply))
