"""`--pool`: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.service.admission.catalog import Catalog
from core.service.domain.errors import SetupError
from core.service.domain.slots import PoolLimits
from core.service.settings import Settings
from tests.helpers.presets import write_fake_preset
from worker import supervisor
from worker.pools import read_pools

COMMAND: dict[str, Any] = {"model": None, "gpus": "none", "pools": ["sprites=0..1"]}


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    for name in ("a", "b"):
        write_fake_preset(tmp_path, name)
    return Catalog(Settings(presets_dir=tmp_path))


def test_pools_are_read(catalog: Catalog) -> None:
    assert read_pools(["a=1..4", "b=0..8"], catalog, 4) == [PoolLimits("a", 1, 4), PoolLimits("b", 0, 8)]


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["a"], "cannot be read"),
        (["a=1"], "cannot be read"),
        (["a=1..b"], "cannot be read"),
        (["a=-1..2"], "cannot be read"),
        (["a=1..2,b=0..2"], "cannot be read"),
        (["a=\x1b[31m"], r"\\x1b"),
        ([""], "cannot be read"),
        (["c=0..1"], "no model named 'c'"),
        (["a=3..2"], "at least the minimum"),
        (["a=0..0"], "at least 1"),
        (["a=0..1", "a=0..2"], "more than once"),
        (["a=1..4", "b=2..4"], "at least 3 GPUs together, and there are 2"),
    ],
)
def test_pools_that_make_no_sense_are_refused(catalog: Catalog, texts: list[str], words: str) -> None:
    with pytest.raises(SetupError, match=words) as refused:
        read_pools(texts, catalog, 2)
    assert refused.value.fix


def test_limits_that_leave_a_model_or_a_gpu_out_are_told(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    read_pools(["a=2..2", "b=0..2"], catalog, 2)
    assert "b never gets a GPU" in caplog.text
    read_pools(["a=0..1", "b=1..2"], catalog, 5)
    assert "2 GPUs have no worker" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "cpu"}, "--kind cpu"),
        ({"kind": "refine"}, "--kind refine"),
        ({"kind": "both", "model": "a"}, "does not go with --model"),
        ({"kind": "both", "pools": ["sprites=2..1"]}, "at least the minimum"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_starts(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SetupError, match=words):
        supervisor.run(**(COMMAND | arguments))
