"""GPU detection and assignment, from recorded listings; no driver is needed."""

from __future__ import annotations

import pytest

from core.service.domain.errors import SetupError
from worker.gpus import available_gpus, choose_gpus, parse_listing

TWO_GPUS = """\
GPU 0: NVIDIA H200 (UUID: GPU-5b1c0000-0000-0000-0000-000000000001)
GPU 1: NVIDIA H200 (UUID: GPU-5b1c0000-0000-0000-0000-000000000002)
"""
PARTITIONED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-5b1c0000-0000-0000-0000-000000000001)
  MIG 3g.40gb     Device  0: (UUID: MIG-aaaa0000-0000-0000-0000-000000000001)
  MIG 3g.40gb     Device  1: (UUID: MIG-aaaa0000-0000-0000-0000-000000000002)
GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-5b1c0000-0000-0000-0000-000000000002)
"""


def nothing_offered() -> list[str]:
    return []


def test_a_listing_names_each_gpu_by_its_number() -> None:
    assert parse_listing(TWO_GPUS) == ["0", "1"]
    assert parse_listing("No devices found.\n") == []


def test_a_partitioned_gpu_is_replaced_by_its_parts() -> None:
    parts = ["MIG-aaaa0000-0000-0000-0000-000000000001", "MIG-aaaa0000-0000-0000-0000-000000000002"]
    assert parse_listing(PARTITIONED) == [*parts, "1"]


@pytest.mark.parametrize(("allowed", "offered"), [("1,3", ["1", "3"]), ("", []), ("-1", []), ("GPU-ab", ["GPU-ab"])])
def test_cuda_visible_devices_limits_what_is_offered(
    allowed: str, offered: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert available_gpus() == offered


@pytest.mark.parametrize("wish", ["auto", "all"])
def test_all_is_every_gpu_or_the_cpu_where_there_is_none(wish: str) -> None:
    assert choose_gpus(wish, lambda: ["0", "1"]) == ["0", "1"]
    assert choose_gpus(wish, nothing_offered) == [""]


def test_none_is_the_cpu_and_a_list_is_taken_at_its_word() -> None:
    assert choose_gpus("none", lambda: ["0"]) == [""]
    assert choose_gpus("0, 2", nothing_offered) == ["0", "2"]


@pytest.mark.parametrize("wish", ["", "0,", "1,1"])
def test_a_list_that_means_nothing_is_refused(wish: str) -> None:
    with pytest.raises(SetupError, match="--gpus"):
        choose_gpus(wish, nothing_offered)
