"""The number of threads is that of the cores that the process may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.model.cores import usable_cores


@pytest.fixture
def own_cgroup(tmp_path: Path) -> Path:
    file = tmp_path / "cgroup"
    file.write_text("0::/machine/container\n")
    (tmp_path / "machine" / "container").mkdir(parents=True)
    return file


@pytest.mark.parametrize(
    ("quota", "cores"), [("100000 100000", 1), ("50000 100000", 1), ("1 100000", 1), ("max 100000", None), ("?", None)]
)
def test_a_container_s_cpu_limit_counts(tmp_path: Path, own_cgroup: Path, quota: str, cores: int | None) -> None:
    (tmp_path / "machine" / "container" / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path, own_cgroup) == (cores or len(os.sched_getaffinity(0)))


def test_a_limit_of_a_group_around_it_counts(tmp_path: Path, own_cgroup: Path) -> None:
    (tmp_path / "machine" / "cpu.max").write_text("70000 100000\n")
    (tmp_path / "machine" / "container" / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path, own_cgroup) == 1


def test_a_limit_above_the_cores_changes_nothing(tmp_path: Path, own_cgroup: Path) -> None:
    (tmp_path / "machine" / "container" / "cpu.max").write_text("999900000 100000\n")
    assert usable_cores(tmp_path, own_cgroup) == len(os.sched_getaffinity(0))


def test_the_affinity_counts_and_no_cgroup_is_no_limit(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores(tmp_path, tmp_path / "missing") == 1
    finally:
        os.sched_setaffinity(0, before)
