"""A worker's first use of a model that is not installed: what it reports, and that it can be stopped."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from core.service.admission.catalog import Catalog
from core.service.domain.errors import Interrupted
from core.service.settings import Settings
from tests.helpers.presets import write_fake_preset
from worker.ensure_weights import in_words, install


def test_every_percent_is_reported_once() -> None:
    told: list[str] = []
    report = in_words("large", told.append, threading.Event())

    for done in (0, 1, 2, 15, 1000):
        report("weights.ckpt", done, 1000)

    assert told == [f"installing large: weights.ckpt, {percent} %" for percent in (0, 1, 100)]


def test_a_stop_ends_it() -> None:
    stop = threading.Event()
    report = in_words("large", lambda _words: None, stop)
    report("weights.ckpt", 1, 2)
    stop.set()

    with pytest.raises(Interrupted, match="continues at the next start"):
        report("weights.ckpt", 2, 2)


def test_an_installed_model_is_left_alone(tmp_path: Path) -> None:
    write_fake_preset(tmp_path, "fake")
    told: list[str] = []

    install(Catalog(Settings(presets_dir=tmp_path)).get("fake"), told.append, threading.Event())

    assert told == []
