"""A weights folder appears whole or not at all: full disks, faults, kills, two at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from core.model.convert.disk import Disk, LocalDisk
from core.model.convert.output_folder import atomic_folder
from core.model.convert.safe_file import open_checkpoint
from core.model.convert.summary import Part, no_report
from core.model.convert.weights_folder import write_weights_folder
from core.service.domain.errors import OutputDiskFull, OutputRefused
from tests.helpers.small_disk import SmallDisk


def fill(out: Path, disk: Disk | None = None, *, num_bytes: int = 4) -> None:
    """A folder of one file."""
    disk = disk or LocalDisk()
    with atomic_folder(out, num_bytes, disk) as folder, disk.create(folder / "file") as file:
        file.write(b"here")


def test_the_folder_is_there_when_it_is_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", 0, LocalDisk()) as folder:
        (folder / "file").write_bytes(b"here")
        assert not (tmp_path / "out").exists()

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "file").read_bytes() == b"here"


def test_an_empty_folder_may_stand_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()

    fill(tmp_path / "out")

    assert (tmp_path / "out" / "file").exists()


def test_missing_folders_above_are_made_and_removed_after_a_fault(tmp_path: Path) -> None:
    fill(tmp_path / "models" / "a")
    assert (tmp_path / "models" / "a" / "file").exists()

    with pytest.raises(OutputDiskFull):
        fill(tmp_path / "more" / "models" / "b", SmallDisk(2, free_bytes=100))
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()

    with pytest.raises(OutputRefused, match="not an empty folder"):
        fill(tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputRefused):
        fill(tmp_path / "out")
    with pytest.raises(OutputRefused):
        fill(tmp_path / "out" / "inner")


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(OutputDiskFull, match=r"12\.90 GB .* 3\.00 GB free"):
        fill(tmp_path / "out", SmallDisk(10, free_bytes=3_000_000_000), num_bytes=12_900_000_000)
    assert list(tmp_path.iterdir()) == []


def test_any_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_folder(tmp_path / "out", 0, LocalDisk()) as folder:
            (folder / "file").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_two_conversions_do_not_write_one_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out", 0, LocalDisk()) as folder:
        with pytest.raises(OutputRefused, match="another conversion"):
            fill(tmp_path / "out")
        (folder / "file").write_bytes(b"first")

    assert (tmp_path / "out" / "file").read_bytes() == b"first"


HALF_DONE = """
import sys, time
from pathlib import Path
from core.model.convert.disk import LocalDisk
from core.model.convert.output_folder import atomic_folder

with atomic_folder(Path(sys.argv[1]), 0, LocalDisk()) as folder:
    (folder / "half").touch()
    print("half", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_disk_that_becomes_full_leaves_nothing(parts: list[Part], tmp_path: Path, share: float) -> None:
    write_weights_folder(parts, tmp_path / "whole", "float32", no_report)
    size = sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())

    with pytest.raises(OutputDiskFull, match="became full") as caught:
        write_weights_folder(
            parts, tmp_path / "out", "float32", no_report, SmallDisk(int(size * share), free_bytes=1 << 40)
        )
    assert caught.value.code == "output_disk_full"
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


@pytest.fixture
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Part]:
    """Two networks of a few weights."""
    file = tmp_path_factory.mktemp("source") / "weights.pth"
    torch.save({"a": torch.ones(40, 50), "b": torch.ones(7)}, file)
    return [Part(name, {}, dict(open_checkpoint(file))) for name in ("unet", "vae")]


@pytest.fixture
def half_done(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has written half of tmp_path/out and waits."""
    command = [sys.executable, "-c", HALF_DONE, str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        yield process
        process.kill()


def test_what_a_killed_conversion_leaves_is_not_the_folder_and_is_cleared(
    half_done: subprocess.Popen[str], tmp_path: Path
) -> None:
    half_done.send_signal(signal.SIGKILL)
    half_done.wait()
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.part" / "half").exists()

    fill(tmp_path / "out")

    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", "out/file"]


def test_a_running_conversion_is_not_cleared_by_another(half_done: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(OutputRefused, match="another conversion"):
        fill(tmp_path / "out")
    assert half_done.poll() is None
    assert (tmp_path / ".out.part" / "half").exists()
