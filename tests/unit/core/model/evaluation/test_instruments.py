"""`longtake evaluate FILES` with networks: a tiny CLIP, a stand-in for RAFT, and what is not installed."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import main
from core.metrics.evaluation.instruments import Asked
from core.metrics.video.metric import FlowHW2
from core.metrics.video.seams import Borders
from core.metrics.video.warp_error import WarpError
from core.model.evaluation import instruments as module
from core.model.evaluation.instruments import LearnedInstruments
from core.service.domain.engine import FrameHWC
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.helpers.evaluated import pan
from tests.unit.core.model.evaluation.learned.conftest import write_clip


@pytest.fixture(autouse=True)
def nothing_stays_loaded() -> Iterator[None]:
    yield
    for loaded in ("_load_networks", "_load_raft"):
        getattr(module, loaded).cache_clear()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("networks") / "tiny-clip")


class StillFlow:
    """A flow of its own name by which everything moves a pixel to the right."""

    name = "raft-stand-in"

    def __call__(self, first: FrameHWC, second: FrameHWC) -> FlowHW2:
        del second
        return np.stack([np.ones(first.shape[:2]), np.zeros(first.shape[:2])], axis=-1).astype(np.float32)


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return content


def test_values_of_networks_are_named_by_them_in_several_processes(clip_folder: Path, tmp_path: Path) -> None:
    for number in range(2):
        pan(tmp_path / "clips" / f"{number}.mp4", 20, seed=number)
    (tmp_path / "p.txt").write_text("a red circle\na blue square\n")
    words = [str(tmp_path / "clips"), "--clip", str(clip_folder), "--prompts", str(tmp_path / "p.txt"), "--size", "64"]
    for processes in ("1", "2"):
        assert main(["evaluate", *words, "--processes", processes, "--out", str(tmp_path / processes)]) == 0
    one, two = (results(tmp_path / processes) for processes in ("1", "2"))
    assert one == two
    of_clip = next(mean for mean in one["means"] if mean["column"]["name"] == "clip_score")
    assert of_clip["column"] == {"name": "clip_score", "flow": None, "model": one["options"]["clip"]}
    assert of_clip["num_videos"] == 2
    of_flow = next(mean for mean in one["means"] if mean["column"]["name"] == "ofs")
    assert of_flow["column"] == {"name": "ofs", "flow": "dis", "model": None}


def test_the_prompt_is_part_of_what_a_value_depends_on(clip_folder: Path, tmp_path: Path) -> None:
    assert LearnedInstruments(clip=str(clip_folder)).reads_prompts
    assert not LearnedInstruments(lpips=True).reads_prompts
    path = pan(tmp_path / "a.mp4", 20)
    scores = list[float]()
    for number, prompt in enumerate(["a red circle", "other words entirely"]):
        (tmp_path / "p.txt").write_text(prompt)
        words = ["--clip", str(clip_folder), "--prompts", str(tmp_path / "p.txt"), "--size", "64"]
        assert main(["evaluate", str(path), *words, "--out", str(tmp_path / "out")]) == 0, number
        scores.append(results(tmp_path / "out")["videos"][0]["measured"]["values"]["clip_score"])
    assert scores[0] != scores[1]


def test_raft_takes_the_place_of_dis_and_gives_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_raft", StillFlow)
    instruments = LearnedInstruments(64, raft=True)
    instruments.prepare(1)
    made = instruments.of_video(12, Asked(None, borders=Borders(4, 4)))
    assert "the optical flow raft-stand-in of each video at 64x64 pixels" in instruments.about[0]
    flows = {type(each.metric): each.flow for each in made}
    assert flows.pop(WarpError) == instruments.options["flow"] == "raft-stand-in"
    assert set(flows.values()) == {None}
    warp = next(each.metric for each in made if isinstance(each.metric, WarpError))
    for _ in range(12):
        warp.add(np.zeros((32, 32, 3), np.uint8))
    assert warp.values()["ofs"] == 1


def test_without_raft_its_numbers_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", None)
    pan(tmp_path / "a.mp4", 8)
    assert main(["evaluate", str(tmp_path / "a.mp4"), "--flow", "raft", "--out", str(tmp_path / "out")]) == 2
    assert "--flow raft: " in capsys.readouterr().err
    assert not (tmp_path / "out" / "results.json").exists()


def test_a_network_that_is_missing_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lpips", None)
    words = [str(pan(tmp_path / "a.mp4", 8)), "--lpips", "--size", "64", "--out", str(tmp_path / "out")]
    assert main(["evaluate", *words]) == 0
    assert "note: networks: LPIPS is not measured" in capsys.readouterr().err
    assert [problem["kind"] for problem in results(tmp_path / "out")["problems"]] == ["no_network"]
    assert main(["evaluate", *words, "--strict"]) == 2


def test_instruments_go_to_other_processes_without_their_networks(clip_folder: Path) -> None:
    instruments = LearnedInstruments(64, clip=str(clip_folder), tower=SHIPPED_PRESETS_DIR / "sprites")
    instruments.prepare(1)
    assert len(pickle.dumps(instruments)) < 1000
    assert pickle.loads(pickle.dumps(instruments)) == instruments  # noqa: S301 - our own bytes
    assert set(instruments.options) == {"size", "flow", "opencv", "scenedetect", "clip", "tower"}


def test_a_tower_is_named_as_its_preset_or_by_its_folder(tmp_path: Path) -> None:
    path = pan(tmp_path / "a.mp4", 20)
    found = list[dict[str, Any]]()
    for tower in ("sprites", str(SHIPPED_PRESETS_DIR / "sprites")):
        assert main(["evaluate", str(path), "--tower", tower, "--size", "64", "--out", str(tmp_path / "out")]) == 0
        found.append(results(tmp_path / "out")["options"])
    assert found[0] == found[1]
    assert found[0]["tower"].startswith("own tower of sprites (")
