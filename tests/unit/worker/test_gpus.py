"""GPU detection and assignment, from recorded listings; no driver is needed."""

from __future__ import annotations

import pytest

from core.service.domain.errors import SetupError
from worker.gpus import available_gpus, choose_gpus, existing_gpus, names_in, parse_listing

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


def test_none_is_the_cpu() -> None:
    assert choose_gpus("none", lambda: ["0"], nothing_offered) == [""]


@pytest.mark.parametrize(
    "wish", ["0", "0, 1", "GPU-5b1c0000-0000-0000-0000-000000000002", "GPU-5b1c0000-0000", "MIG-aaaa", "0,MIG-bbbb/1/0"]
)
def test_a_list_of_gpus_that_there_are_is_taken(wish: str) -> None:
    existing = [*names_in(TWO_GPUS), *names_in(PARTITIONED), "MIG-bbbb/1/0"]
    assert choose_gpus(wish, nothing_offered, lambda: existing) == wish.replace(" ", "").split(",")


@pytest.mark.parametrize("wish", ["", "0,", "1,1", "0-3", "foo", "-1", "0;1", "\u0661", "gpu-ab", "GPU-", "0x1", "0 1"])
def test_a_list_that_means_nothing_is_refused(wish: str) -> None:
    with pytest.raises(SetupError, match=r"--gpus .* is invalid"):
        choose_gpus(wish, nothing_offered, lambda: ["0", "1"])


@pytest.mark.parametrize("wish", ["99", "0,2", "GPU-5b1d", "MIG-aaaa", "00"])
def test_a_gpu_that_there_is_not_is_refused_with_those_that_there_are(wish: str) -> None:
    with pytest.raises(SetupError, match="there is no GPU") as refused:
        choose_gpus(wish, nothing_offered, lambda: names_in(TWO_GPUS))
    assert "GPU-5b1c0000-0000-0000-0000-000000000001" in refused.value.with_fix


def test_where_there_is_no_gpu_a_list_is_refused() -> None:
    with pytest.raises(SetupError, match="lists none") as refused:
        choose_gpus("0", nothing_offered, nothing_offered)
    assert "--gpus none" in refused.value.with_fix


@pytest.mark.parametrize(("listing", "known"), [(TWO_GPUS, "GPU-5b1c"), ("No devices were found\n", "3"), ("", "3")])
def test_what_exists_is_what_nvidia_smi_lists_else_what_the_environment_names(
    listing: str, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.gpus._nvidia_smi_listing", lambda: listing)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert any(name.startswith(known) for name in existing_gpus())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert bool(existing_gpus()) is (listing == TWO_GPUS)
