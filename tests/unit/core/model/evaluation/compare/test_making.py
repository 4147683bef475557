"""The protocol: one first chunk for all, every video stored at once, failures named, nothing made twice."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.model.evaluation.compare.making import make_all
from core.model.evaluation.compare.plan import ComparisonError, Plan
from core.model.evaluation.compare.results import read_results
from core.model.evaluation.compare.workspace import Workspace
from tests.helpers.compared_methods import BROKEN, FULL, KILLED, NO_BEGINNING, calls, fake_plan, fake_tools, fingerprint

METHODS = ("streaming_t2v", "concat", "last_frame", "free_noise")
PROMPTS = ("a lake", "a wood")


def no_bar(description: str, total: int) -> Callable[[int], None]:
    del description, total
    return lambda done: None  # noqa: ARG005


def make(
    plan: Plan, folder: Path, *, processes: int = 1, version: str = "1", measurement: str = "1", threads: int = 1
) -> Workspace:
    tools = fake_tools(folder, version, measurement, threads)
    make_all(plan, tools, processes, no_bar)
    return tools.workspace


def first_chunk_of(workspace: Workspace, plan: Plan, method: str, prompt: int) -> bytes:
    frames = list(workspace.frames(plan.video(method, prompt)))
    assert len(frames) == plan.frames
    return np.stack(frames[:16]).tobytes()


@pytest.fixture(scope="module")
def made_by_one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """Prompt 1 breaks one method, and prompts 0 and 2 do not."""
    plan = fake_plan(METHODS, ("a lake", BROKEN, "a wood"))
    return plan, make(plan, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def made_by_two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Workspace]:
    """The same by two processes, of which prompt 3 kills one: each costs seconds to start."""
    plan = fake_plan(METHODS, ("a lake", BROKEN, "a wood", KILLED, "a hill"))
    return plan, make(plan, tmp_path_factory.mktemp("two"), processes=2)


@pytest.fixture(params=["made_by_one", "made_by_two"])
def made(request: pytest.FixtureRequest) -> tuple[Plan, Workspace]:
    return request.getfixturevalue(request.param)


def test_all_methods_that_can_take_it_begin_with_the_same_bytes(made: tuple[Plan, Workspace]) -> None:
    plan, workspace = made
    for prompt in (0, 2):
        by_method = {method: first_chunk_of(workspace, plan, method, prompt) for method in METHODS}
        assert len({by_method[method] for method in ("streaming_t2v", "concat", "last_frame")}) == 1
        assert by_method["free_noise"] != by_method["concat"]
    first, second = (first_chunk_of(workspace, plan, "concat", prompt) for prompt in (0, 2))
    assert first != second


@pytest.mark.parametrize("frames", [16, 17, 41])
def test_videos_of_odd_lengths_have_all_their_frames(tmp_path: Path, frames: int) -> None:
    plan = fake_plan(METHODS, PROMPTS[:1], frames)
    workspace = make(plan, tmp_path)
    results = read_results(plan, workspace)
    for method in METHODS:
        assert results.methods[method].finished[0].measured.whole.num_frames == frames
        assert len(list(workspace.frames(plan.video(method, 0)))) == frames


def test_what_is_finished_is_not_made_again(tmp_path: Path) -> None:
    make(fake_plan(METHODS, PROMPTS[:1]), tmp_path)
    before = calls(tmp_path)
    make(fake_plan(METHODS, PROMPTS), tmp_path)
    again = calls(tmp_path)[len(before) :]
    assert {prompt for _, prompt, _ in again} == {PROMPTS[1]}
    make(fake_plan(METHODS, PROMPTS), tmp_path)
    assert len(calls(tmp_path)) == len(before) + len(again)


def test_a_run_that_was_killed_between_two_videos_goes_on(tmp_path: Path) -> None:
    plan = fake_plan(METHODS, PROMPTS)
    workspace = make(plan, tmp_path)
    # What a kill leaves: the last video is half written, and the one before it is not measured.
    workspace.stem(plan.video("free_noise", 1)).with_suffix(".made.json").unlink()
    workspace.stem(plan.video("free_noise", 1)).with_suffix(".1234.mkv").write_bytes(b"half")
    workspace.stem(plan.video("free_noise", 0)).with_suffix(".figures.json").unlink()
    before = len(calls(tmp_path))
    assert set(read_results(plan, workspace).methods["free_noise"].finished) == set()
    make(plan, tmp_path)
    assert [call[:2] for call in calls(tmp_path)[before:]] == [("free_noise", PROMPTS[1])]
    assert set(read_results(plan, workspace).methods["free_noise"].finished) == {0, 1}


def test_other_weights_make_all_videos_again(tmp_path: Path) -> None:
    plan = fake_plan(METHODS, PROMPTS[:1])
    make(plan, tmp_path)
    before = calls(tmp_path)
    workspace = make(fake_plan(METHODS, PROMPTS[:1], version="2"), tmp_path, version="2")
    assert calls(tmp_path)[len(before) :] == before
    results = read_results(fake_plan(METHODS, PROMPTS[:1], version="2"), workspace)
    assert results.methods["concat"].fingerprints == [fingerprint("concat", "2")]


def test_videos_by_other_weights_or_settings_never_share_a_report(tmp_path: Path) -> None:
    make(fake_plan(METHODS, PROMPTS), tmp_path)
    # A run with other weights was stopped after the first prompt: the second prompt's videos are still the old ones.
    workspace = make(fake_plan(METHODS, PROMPTS[:1], version="2"), tmp_path, version="2")
    results = read_results(fake_plan(METHODS, PROMPTS, version="2"), workspace)
    assert {name: set(method.finished) for name, method in results.methods.items()} == {key: {0} for key in METHODS}
    assert "concat: 1 of 2 videos" in results.missing


def test_other_threads_make_nothing_again_and_are_recorded(tmp_path: Path) -> None:
    make(fake_plan(METHODS, PROMPTS[:1]), tmp_path, threads=1)
    before = calls(tmp_path)
    workspace = make(fake_plan(METHODS, PROMPTS), tmp_path, threads=2)
    assert {prompt for _, prompt, _ in calls(tmp_path)[len(before) :]} == {PROMPTS[1]}
    assert read_results(fake_plan(METHODS, PROMPTS), workspace).methods["concat"].threads == [1, 2]


def test_other_borders_measure_again_and_make_nothing(tmp_path: Path) -> None:
    plan = fake_plan(("streaming_t2v",), PROMPTS[:1])
    workspace = make(plan, tmp_path)
    moved = {name: replace(facts, borders=None) for name, facts in plan.methods.items()}
    assert read_results(replace(plan, methods=moved), workspace).num_finished == 0
    assert not workspace.is_measured(plan.video("streaming_t2v", 0), {"version": "1"}, "none")
    assert workspace.is_measured(plan.video("streaming_t2v", 0), {"version": "1"}, "every 8 frames from 16 on")


def test_another_measurement_measures_again_and_makes_nothing(tmp_path: Path) -> None:
    plan = fake_plan(METHODS, PROMPTS[:1])
    make(plan, tmp_path)
    before = calls(tmp_path)
    workspace = make(plan, tmp_path, measurement="2")
    assert calls(tmp_path) == before
    assert read_results(plan, workspace).by == {"version": "2"}


def test_figures_by_two_measurements_never_share_a_report(tmp_path: Path) -> None:
    make(fake_plan(METHODS, PROMPTS), tmp_path)
    plan = fake_plan(("streaming_t2v",), PROMPTS)
    workspace = make(plan, tmp_path, measurement="2")
    results = read_results(fake_plan(METHODS, PROMPTS), workspace)
    assert results.by == {"version": "1"}
    assert results.methods["streaming_t2v"].finished == {}
    assert results.missing == ["streaming t2v: 2 of 2 videos"]


def test_a_video_with_another_first_chunk_than_the_others_does_not_count(tmp_path: Path) -> None:
    plan = fake_plan(("streaming_t2v", "concat"), PROMPTS[:1])
    workspace = make(plan, tmp_path)
    video = plan.video("concat", 0)
    workspace.store_first_chunk(video, {}, np.zeros((16, 32, 32, 3), np.uint8))
    assert read_results(plan, workspace).num_finished == 0


def test_a_method_that_fails_for_one_prompt_is_named_and_loses_no_other(made: tuple[Plan, Workspace]) -> None:
    plan, workspace = made
    results, everything = read_results(plan, workspace), set(range(len(plan.prompts)))
    killed = {3} & everything
    assert results.methods["free_noise"].failures[1] == "RuntimeError: out of <b>memory</b>"
    assert set(results.methods["free_noise"].failures) == {1} | killed
    assert set(results.methods["free_noise"].finished) == everything - {1} - killed
    assert set(results.methods["concat"].finished) == everything
    whole = list(workspace.folder.glob("videos/*/???.mkv"))
    assert len(whole) == len(METHODS) * len(everything) - len({1} | killed)
    if not killed:  # which leaves what other processes had half written
        assert not list(workspace.folder.rglob("*.mkv.*"))
        assert len(list(workspace.folder.rglob("*.mkv"))) == len(whole)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_full_disk_ends_the_run_and_fails_no_video(tmp_path: Path, processes: int) -> None:
    """Otherwise all others would be computed and fail, too."""
    prompts = (FULL, *(f"a lake {number}" for number in range(200)))
    plan = fake_plan(("free_noise",), prompts, 16)
    with pytest.raises(OSError, match="Disk quota exceeded: ") as caught:
        make(plan, tmp_path, processes=processes)
    assert caught.value.filename == str(tmp_path)
    results = read_results(plan, Workspace(tmp_path))
    assert results.methods["free_noise"].failures == {}
    assert len(calls(tmp_path)) < len(prompts)


def test_without_a_first_chunk_methods_that_take_none_go_on_and_the_others_say_why(tmp_path: Path) -> None:
    plan = fake_plan(METHODS, ("a lake", NO_BEGINNING))
    workspace = make(plan, tmp_path)
    results = read_results(plan, workspace)
    assert set(results.methods["free_noise"].finished) == {0, 1}
    for method in ("streaming_t2v", "concat", "last_frame"):
        assert set(results.methods[method].finished) == {0}
        assert results.methods[method].failures[1].endswith("could not be made: RuntimeError: no beginning")


def test_a_failure_is_forgotten_when_the_video_succeeds(tmp_path: Path) -> None:
    plan = fake_plan(METHODS, PROMPTS[:1])
    tools = fake_tools(tmp_path)
    tools.workspace.store_failure(plan.video("concat", 0), "no memory")
    make_all(plan, tools, 1, no_bar)
    assert read_results(plan, tools.workspace).methods["concat"].failures == {}


def test_a_method_that_cannot_be_loaded_loses_no_other(tmp_path: Path) -> None:
    known = fake_plan(METHODS, PROMPTS)
    methods = {"gone": known.methods["concat"], **known.methods}
    plan = replace(known, methods=methods, fingerprints={"gone": "gone", **known.fingerprints})
    results = read_results(plan, make(plan, tmp_path))
    assert results.methods["gone"].failures == dict.fromkeys(range(2), "there is no method gone")
    assert results.num_finished == len(METHODS) * 2


def test_seconds_are_of_the_method_and_prefixes_of_the_frames(tmp_path: Path) -> None:
    plan = fake_plan(("streaming_t2v",), PROMPTS, 41)
    results = read_results(plan, make(plan, tmp_path))
    method = results.methods["streaming_t2v"]
    assert method.seconds is not None
    assert method.seconds.value > 0
    assert results.prefixes == [32, 41]
    # Of the first chunk's 16 frames and of the 16 and 25 after it the red channel is 10.
    assert method.values("scuts", 32) == {0: 10, 1: 10}
    assert method.values("mawe_v2") == {0: 10, 1: 10}
    assert "clip_score" not in results.names


def test_a_failure_of_a_later_run_is_forgotten_when_the_next_one_finds_the_video_finished(tmp_path: Path) -> None:
    plan = fake_plan(METHODS, PROMPTS[:1])
    workspace = make(plan, tmp_path)
    workspace.store_failure(plan.video("concat", 0), "its weights could not be read")
    make(plan, tmp_path)
    assert read_results(plan, workspace).methods["concat"].failures == {}


def test_a_killed_process_fails_its_video_alone(made_by_two: tuple[Plan, Workspace]) -> None:
    plan, workspace = made_by_two
    results = read_results(plan, workspace)
    assert "was killed" in results.methods["free_noise"].failures[plan.prompts.index(KILLED)]
    assert results.num_finished == len(METHODS) * len(plan.prompts) - 2, "and that of the prompt that breaks"
    assert [path for path in workspace.running.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("suffix", "is_shown"), [(".mp4", True), (".sheet.jpg", True), (".slice.jpg", True), (".mkv", False)]
)
def test_a_video_without_its_files_is_made_again(tmp_path: Path, suffix: str, is_shown: bool) -> None:
    """Without what the page shows it is not finished either; without the exact frames its figures still hold."""
    plan = fake_plan(("free_noise",), PROMPTS[:1])
    workspace = make(plan, tmp_path)
    file = workspace.stem(plan.video("free_noise", 0)).with_suffix(suffix)
    file.unlink()
    assert read_results(plan, workspace).num_finished == (0 if is_shown else 1)
    make(plan, tmp_path)
    assert file.is_file()
    assert len(calls(tmp_path)) == 2


def test_a_folder_has_one_run_at_a_time(tmp_path: Path) -> None:
    first, second = Workspace(tmp_path).alone(), Workspace(tmp_path).alone()
    with first, pytest.raises(ComparisonError, match="another comparison is at work"):
        second.__enter__()
    with Workspace(tmp_path).alone():
        pass


def test_what_a_killed_run_left_half_done_is_swept_and_videos_stay(tmp_path: Path) -> None:
    plan = fake_plan(("free_noise",), PROMPTS[:1])
    workspace = make(plan, tmp_path)
    stem = workspace.stem(plan.video("free_noise", 0))
    half = [stem.with_suffix(suffix) for suffix in (".1234.mkv", ".1234.mp4", ".made.json.1234.part")]
    of_report, in_writing = (tmp_path / f"compare.html.{process}.part" for process in (77, 78))
    for file in (*half, of_report, in_writing):
        file.write_bytes(b"half")
    os.utime(of_report, (0, 0))
    with workspace.alone():
        assert not any(file.exists() for file in (*half, of_report))
        assert in_writing.exists(), "of another process, which writes a report"
    assert read_results(plan, workspace).num_finished == 1


def test_a_failure_of_another_request_is_none_of_this_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    workspace.store_failure(fake_plan(METHODS, PROMPTS).video("concat", 0), "no memory")
    results = read_results(fake_plan(METHODS, ("another prompt",)), workspace)
    assert results.methods["concat"].failures == {}
