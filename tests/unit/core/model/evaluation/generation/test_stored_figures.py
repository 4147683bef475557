"""Figures of finished suites: read back exactly, and not for other videos."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from core.model.engines.streaming_t2v.preset import StreamingPreset
from core.model.evaluation.generation.sprites_requests import suite_requests
from core.model.evaluation.generation.stored_figures import read_figures, write_figures
from core.model.evaluation.generation.videos import VideoRequest
from core.model.training.sprites_preset import preset_config
from core.service.domain.priority import Priority
from tests.helpers.figures import PERFECT

MEASURED = [replace(PERFECT, cuts=2), replace(PERFECT, cuts=None)]


def requests(count: int, frames: int = 24) -> list[VideoRequest]:
    return suite_requests(StreamingPreset.model_validate(preset_config()), count, frames, Path("videos"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "figures-24.json"
    write_figures(path, requests(2), MEASURED)
    return path


def test_figures_are_read_back(file: Path) -> None:
    assert read_figures(file, requests(2)) == MEASURED
    assert [path.name for path in file.parent.iterdir()] == ["figures-24.json"]


def test_fewer_videos_are_the_first_ones(file: Path) -> None:
    assert read_figures(file, requests(1)) == MEASURED[:1]


def test_more_or_other_videos_are_not_finished(file: Path) -> None:
    assert read_figures(file, requests(3)) is None
    assert read_figures(file, requests(2, frames=32)) is None
    assert read_figures(file.with_name("none.json"), requests(2)) is None


def test_a_priority_makes_no_other_video(file: Path) -> None:
    hurried = [
        replace(request, spec=request.spec.model_copy(update={"priority": Priority.HIGH})) for request in requests(2)
    ]
    assert read_figures(file, hurried) == MEASURED
    assert all("priority" not in video["spec"] for video in json.loads(file.read_text())["videos"])


def test_figures_that_were_not_measured_then_are_missing(file: Path) -> None:
    content = json.loads(file.read_text())
    del content["videos"][1]["figures"]["tower"]["anchor_distance"]
    file.write_text(json.dumps(content))
    assert read_figures(file, requests(2)) is None
