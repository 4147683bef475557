"""`--pool` where there is no GPU, and with digits that are none of ours."""

from __future__ import annotations

import pytest

from core.service.admission.catalog import Catalog
from core.service.domain.errors import SetupError
from core.service.settings import Settings
from worker import supervisor
from worker.pools import read_pools


def test_pools_on_a_machine_without_a_gpu_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for gpus in ("none", "auto"):
        assert "no GPU was found" not in caplog.text
        with pytest.raises(SetupError):
            supervisor.run(kind="both", model=None, gpus=gpus, pools=["sprites=2..1"])
    assert "no GPU was found: the pools share one worker on the CPU" in caplog.text


def test_digits_of_other_scripts_are_no_limits() -> None:
    with pytest.raises(SetupError, match="cannot be read"):
        read_pools(["sprites=\u0661..\u0664"], Catalog(Settings()), 4)
