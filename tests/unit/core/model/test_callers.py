"""How the worker and the command line reach the model code, which they import only when they need it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cli.main import main
from core.service.domain.errors import ModelNotInstalled
from core.service.settings import Settings
from worker.engines import load_engine


def test_a_worker_without_a_way_to_install_weights_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelNotInstalled, match=r"streaming_t2v\.ckpt of PAIR/StreamingT2V"):
        load_engine(Settings(weights_dir=tmp_path), "modelscope")


def test_training_says_what_it_misses_before_it_begins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert main(["train", "sprites"]) == 1
    assert "pip install 'longtake[model,train]'" in capsys.readouterr().err
