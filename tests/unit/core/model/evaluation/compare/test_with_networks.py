"""The whole command with real methods on a preset with random weights: its videos are noise, its protocol is not."""

import json
from pathlib import Path

import numpy as np
import pytest

from core.model.evaluation.compare.command import main
from core.model.evaluation.compare.plan import Plan
from core.model.evaluation.compare.workspace import Workspace
from tests.helpers.random_preset import write_random_preset

FRAMES = 35
METHODS = ("streaming_t2v", "last_frame", "free_noise")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    write_random_preset(folder / "presets" / "toy", num_inference_steps=1)
    (folder / "prompts.txt").write_text("a red circle moving left\na blue square moving up\n")
    arguments = ["--preset", "toy", "--methods", *METHODS, "--prompts", str(folder / "prompts.txt")]
    lengths = ["--frames", str(FRAMES), "--flow-size", "64", "--threads", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LONGTAKE_PRESETS_DIR", str(folder / "presets"))
        assert main([*arguments, *lengths, "--out", str(folder / "out")]) == 0
    return folder / "out"


def test_methods_that_can_take_it_begin_with_the_same_bytes_and_go_on_in_their_own_way(out: Path) -> None:
    plan, workspace = Plan.read(out), Workspace(out)
    for prompt in range(2):
        videos = {method: np.stack(list(workspace.frames(plan.video(method, prompt)))) for method in METHODS}
        assert {len(frames) for frames in videos.values()} == {FRAMES}
        first, second, own = (videos[method] for method in METHODS)
        assert first[:16].tobytes() == second[:16].tobytes()
        assert not np.array_equal(first[16:], second[16:])
        assert not np.array_equal(first[:16], own[:16])


def test_all_methods_are_measured_by_the_same_and_what_is_not_measured_is_said(out: Path) -> None:
    content = json.loads((out / "compare.json").read_text())
    assert content["measured_by"]["flow"] == "dis"
    assert content["measured_by"]["flow size"] == "64x64"
    assert "clip_heads.safetensors" in (out / "compare.md").read_text().replace("\\", "")
    for name, method in content["methods"].items():
        assert method["finished"] == 2
        assert {"mawe_v1", "mawe_v2", "mawe_code", "ofs", "warp_error", "scuts"} <= set(method["means"])
        assert ("seam_score" in method["means"]) == (name != "free_noise")  # its windows overlap
        assert list(method["prefixes"]) == ["32", str(FRAMES)]
