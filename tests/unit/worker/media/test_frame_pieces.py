"""A whole input video: stored in pieces by the CPU worker, read piece by piece for every chunk, gone with the job."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, InputMedia, OnStep
from core.service.domain.manifest import chunk_key, input_piece_key, inputs_prefix, manifest_key
from core.service.domain.schema import ControlSpec, JobRecord, JobSpec, JobStatus
from core.service.domain.uploads import upload_key
from core.service.settings import Settings
from core.service.testing.engines import FakeEngine
from tests.helpers.clips import clip, numbered_frame, numbers_of
from tests.helpers.fake_world import JOB, MODEL, World
from tests.helpers.manifests import record_from_manifest
from tests.helpers.presets import change_preset, write_fake_preset
from tests.helpers.video import frames_of
from worker.lanes.lane import Outcome
from worker.media.frame_pieces import FrameIndex, StoredFrames, write_pieces


class Copying(FakeEngine):
    """Its frames are those of the input video."""

    def next_chunk(
        self, spec: JobSpec, state: EngineState, on_step: OnStep, inputs: InputMedia = NO_INPUT_MEDIA
    ) -> EngineChunk:
        assert inputs.video is not None
        on_step(0, 1)
        frames = inputs.video.read(state.frames_done, min(16, spec.length - state.frames_done))
        return EngineChunk(frames, EngineState(state.frames_done + len(frames)), {})


class Pieces:
    """Files of pieces as objects, with a list of what was fetched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.fetched: list[str] = []

    def file(self, number: int) -> Path:
        return self._folder / f"{number:05d}.safetensors"

    def get(self, key: str, sha256: str) -> bytes:
        self.fetched.append(Path(key).stem)
        data = self.file(int(Path(key).stem)).read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256
        return data


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Its model reads whole videos."""
    write_fake_preset(tmp_path, MODEL)
    change_preset(tmp_path / MODEL, video="whole")
    return World(settings=Settings(presets_dir=tmp_path, lease_ttl_seconds=30, max_attempts=3))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """6 s at 8 frames per second."""
    return clip(tmp_path_factory.mktemp("clips") / "a.mp4", 48, fps=8, height=64, width=64).read_bytes()


def made(world: World) -> list[int]:
    """Numbers of all frames of the job's chunks."""
    chunks = [world.storage.objects[chunk_key(JOB, chunk.index)] for chunk in world.chunks()]
    return [number for chunk in chunks for number in numbers_of(frames_of(chunk))]


def test_frames_are_read_across_pieces_and_each_piece_is_fetched_when_it_is_needed(tmp_path: Path) -> None:
    pieces = Pieces(tmp_path)
    index = write_pieces((numbered_frame(number) for number in range(40)), pieces.file)
    reader = StoredFrames(FrameIndex.model_validate_json(index.model_dump_json()), "in/00001.json", pieces.get)

    assert (reader.num_frames, reader.height, reader.width) == (40, 48, 64)
    assert pieces.fetched == []
    assert numbers_of(reader.read(14, 20)) == list(range(14, 34))
    assert numbers_of(reader.read(33, 7)) == list(range(33, 40))
    assert pieces.fetched == ["00000", "00001", "00002"]


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (39, 2), (40, 1), (0, 0)])
def test_frames_that_do_not_exist_are_refused(tmp_path: Path, start: int, count: int) -> None:
    pieces = Pieces(tmp_path)
    index = write_pieces((np.zeros((8, 8, 3), np.uint8) for _ in range(40)), pieces.file)
    with pytest.raises(ValueError, match="of 40"):
        StoredFrames(index, "in/00001.json", pieces.get).read(start, count)


@pytest.mark.parametrize(("num_frames", "fps", "pieces"), [(40, 8, 3), (48, 8, 3), (20, 4, 2)])
def test_no_more_of_a_video_is_stored_than_the_job_needs(
    world: World, video: bytes, num_frames: int, fps: int, pieces: int
) -> None:
    world.submit(video=world.upload(video), num_frames=num_frames, fps=fps)
    world.preparer().work()
    assert len(list(world.storage.list(inputs_prefix(JOB)))) == pieces + 1
    world.work(world.maker(Copying()))
    assert made(world) == [number * 8 // fps for number in range(num_frames)]


def test_every_worker_reads_the_whole_video_and_nothing_is_left_at_the_end(world: World, video: bytes) -> None:
    world.submit(video=world.upload(video), num_frames=48)
    world.preparer().work()
    for worker in ("worker-1", "worker-2", "worker-3"):
        assert world.maker(Copying(), world.services(worker)).work() is Outcome.COMMITTED
    world.work(world.maker(Copying()))
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert made(world) == list(range(48))
    assert list(world.storage.list(inputs_prefix(JOB))) == []


def control(world: World, data: bytes) -> ControlSpec:
    return ControlSpec(type="canny", video=world.upload(data), scale=1.0, start=0.0, end=1.0)


def test_a_control_video_is_read_as_a_whole_one_at_the_size_and_rate_of_the_job(world: World, video: bytes) -> None:
    world.submit(control=control(world, video), num_frames=20, fps=4, height=32, width=96)
    world.work(world.maker(Copying()))
    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    chunk = frames_of(world.storage.objects[chunk_key(JOB, 0)])
    assert chunk.shape == (16, 32, 96, 3)
    assert len(world.chunks()) == 2


@pytest.mark.parametrize("field", ["video", "control"])
def test_a_job_without_a_length_is_as_long_as_its_input(world: World, video: bytes, field: str) -> None:
    given: dict[str, Any] = {"video": world.upload(video)} if field == "video" else {"control": control(world, video)}
    world.submit(**given, num_frames=None, endless_limit=800)
    world.preparer().work()
    record = world.store.get(JOB)
    assert (record.spec.num_frames, record.spec.endless_limit, record.warnings) == (48, None, ())
    world.work(world.maker(Copying()))
    assert made(world) == list(range(48))
    assert record_from_manifest(world.storage.objects[manifest_key(JOB)]).spec.num_frames == 48


@pytest.mark.parametrize(
    ("most", "set_by"), [(32, r"this deployment \(LONGTAKE_MAX_FRAMES\)"), (9600, "the limits of the API key")]
)
def test_an_input_beyond_the_limit_is_cut_with_a_warning(world: World, video: bytes, most: int, set_by: str) -> None:
    world.settings = world.settings.model_copy(update={"max_frames": most})
    world.submit(control=control(world, video), num_frames=None, endless_limit=32)
    world.preparer().work()
    record = world.store.get(JOB)
    assert record.spec.num_frames == 32
    assert [(warning.code, warning.field) for warning in record.warnings] == [("length_shortened", "control.video")]
    message = (
        rf"the video has 32 frames, the most that it may have \(set by {set_by}\), also if control.video is longer"
    )
    assert re.fullmatch(message, record.warnings[0].message)


def test_an_upload_that_is_gone_before_it_is_read_fails_the_job(world: World, video: bytes) -> None:
    given = control(world, video)
    world.submit(control=given, num_frames=None, endless_limit=800)
    world.storage.delete([upload_key(given.video)])
    assert world.preparer().work() is Outcome.FAILED
    record = world.store.get(JOB)
    assert (record.status, record.spec.num_frames) == (JobStatus.FAILED, None)
    assert record.error is not None
    assert (record.error.code, record.error.fix) == ("media_unavailable", "upload it again")


def test_a_video_that_an_older_version_prepared_is_read(world: World, video: bytes) -> None:
    world.submit(video=world.upload(video), num_frames=40)
    world.preparer().work()
    older = world.store.get(JOB).model_dump(mode="json")
    del older["prepared"]["num_frames"], older["followed_sha256"]
    world.store.memory.records[JOB] = JobRecord.model_validate(older)
    world.work(world.maker(Copying()))
    assert made(world) == list(range(40))


def test_warnings_name_the_field_of_the_video(world: World, tmp_path: Path) -> None:
    turned = clip(tmp_path / "turned.mp4", 48, fps=8, height=64, width=64, rotation=45).read_bytes()
    world.submit(control=control(world, turned), num_frames=32)
    world.preparer().work()
    warnings = world.store.get(JOB).warnings
    assert [(warning.code, warning.field) for warning in warnings] == [("rotation_rounded", "control.video")]


@pytest.mark.parametrize(
    ("given", "length", "message", "fix"),
    [
        (
            "control",
            {"num_frames": 64},
            "control.video has 48 frames (6 s) at 8 frames per second; 64 are needed",
            "give at least 8 s of video, or ask for a higher fps, or ask for at most 48 frames",
        ),
        (
            "video",
            {"num_frames": 40, "fps": 4},
            "video has 24 frames (6 s) at 4 frames per second; 40 are needed",
            "give at least 10 s of video, or ask for a higher fps, or ask for at most 24 frames",
        ),
        (
            "video",
            {"num_frames": None, "endless_limit": 800, "fps": 2},
            "video has 12 frames (6 s) at 2 frames per second; 16 are needed",
            "give at least 8 s of video, or ask for a higher fps",
        ),
    ],
)
def test_an_input_that_is_too_short_fails_the_job_before_an_engine_has_it(
    world: World, video: bytes, given: str, length: dict[str, Any], message: str, fix: str
) -> None:
    world.submit(**{given: control(world, video) if given == "control" else world.upload(video)}, **length)
    assert world.preparer().work() is Outcome.FAILED
    record = world.store.get(JOB)
    assert (record.status, record.prepared) == (JobStatus.FAILED, None)
    assert record.error is not None
    assert (record.error.code, record.error.retryable) == ("video_too_short", False)
    assert (record.error.message, record.error.fix) == (message, fix)


OF_ANY_LENGTH = {"num_frames": None, "endless_limit": 1_000_000}


@pytest.mark.parametrize("length", [{"num_frames": 48}, OF_ANY_LENGTH])
def test_an_input_takes_the_disk_that_its_frames_need(world: World, video: bytes, length: dict[str, Any]) -> None:
    least = len(video) + 48 * 64 * 64 * 3
    for disk_bytes, outcome in ((2 * least, Outcome.COMMITTED), (least, Outcome.FAILED)):
        world.settings = world.settings.model_copy(update={"media_disk_bytes": disk_bytes})
        world.submit(f"job_{disk_bytes}", video=world.upload(video), **length)
        assert world.preparer().work() is outcome
    error = world.store.get(f"job_{least}").error
    assert error is not None
    assert error.code == "media_too_large"
    assert error.fix == (
        "ask for at most 32 frames or a smaller size, or the operator for more LONGTAKE_MEDIA_DISK_BYTES"
    )


def test_frames_that_the_input_has_not_take_no_disk(world: World, video: bytes) -> None:
    world.settings = world.settings.model_copy(update={"media_disk_bytes": 2 * (len(video) + 48 * 64 * 64 * 3)})
    world.submit(video=world.upload(video), num_frames=9600)
    assert world.preparer().work() is Outcome.FAILED
    error = world.store.get(JOB).error
    assert error is not None
    assert error.code == "video_too_short"


@pytest.mark.parametrize("length", [{"num_frames": 48}, {"num_frames": None, "endless_limit": 800}])
@pytest.mark.parametrize("damaged", ["index", "piece"])
def test_a_damaged_piece_is_prepared_again_during_a_job(
    world: World, video: bytes, damaged: str, length: dict[str, Any]
) -> None:
    world.submit(video=world.upload(video), **length)
    world.preparer().work()
    world.maker(Copying()).work()
    prepared = world.store.get(JOB).prepared
    assert prepared is not None
    world.storage.objects[prepared.key if damaged == "index" else input_piece_key(prepared.key, 1)] = b"?"

    maker = world.maker(Copying(), world.services("worker-2"))
    assert maker.work() is Outcome.INTERRUPTED
    assert maker.work() is Outcome.DROPPED, "not before it is prepared"
    world.work(maker)

    assert world.store.get(JOB).status is JobStatus.SUCCEEDED
    assert world.store.get(JOB).warnings == (), "the video is the same"
    assert made(world) == list(range(48))
