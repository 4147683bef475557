"""A whole input video: stored in pieces by the CPU worker, read piece by piece for every chunk, gone with the job."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from core.service.domain.engine import NO_INPUT_MEDIA, EngineChunk, EngineState, InputMedia, OnStep
from core.service.domain.manifest import chunk_key, input_piece_key, inputs_prefix
from core.service.domain.schema import JobSpec, JobStatus
from core.service.settings import Settings
from core.service.testing.engines import FakeEngine
from tests.helpers.clips import clip, numbered_frame, numbers_of
from tests.helpers.fake_world import JOB, MODEL, World
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


@pytest.mark.parametrize("damaged", ["index", "piece"])
def test_a_damaged_piece_is_prepared_again_during_a_job(world: World, video: bytes, damaged: str) -> None:
    world.submit(video=world.upload(video), num_frames=48)
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
    assert made(world) == list(range(48))
