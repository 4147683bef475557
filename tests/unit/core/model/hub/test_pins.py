"""Pins: what they prove of a file, and that they are written whole."""

import hashlib
from pathlib import Path

import pytest

from core.model.hub.pins import FilePin, Pins, RepositoryPin, read_pins
from core.service.domain.errors import DownloadDamaged

CONTENT = b"weights"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GIT = hashlib.sha1(b"blob 7\0weights", usedforsecurity=False).hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("pin", [FilePin(size=7), FilePin(size=7, sha256=SHA256), FilePin(size=7, git_sha1=GIT)])
def test_a_file_that_fits_its_pin_gets_its_sha256(file: Path, pin: FilePin) -> None:
    assert pin.check(file).sha256 == SHA256


@pytest.mark.parametrize(
    "pin", [FilePin(size=8), FilePin(size=7, sha256=SHA256[::-1]), FilePin(size=7, git_sha1=GIT[::-1])]
)
def test_a_file_that_does_not_fit_is_named(file: Path, pin: FilePin) -> None:
    with pytest.raises(DownloadDamaged, match=r"model\.bin has"):
        pin.check(file)


def test_pins_are_read_as_they_were_written(tmp_path: Path) -> None:
    pins = (
        Pins()
        .with_dtype("bfloat16")
        .with_repository(
            "org/name", RepositoryPin(revision="main", commit="c0ffee", files={"a": FilePin(size=7, sha256=SHA256)})
        )
    )

    pins.write(tmp_path / "new" / "lock.json")

    assert read_pins(tmp_path / "new" / "lock.json") == pins
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lock.json"]


def test_no_lock_file_pins_nothing_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert read_pins(tmp_path / "lock.json") == Pins()
    (tmp_path / "lock.json").write_text("{")
    with pytest.raises(DownloadDamaged, match=r"lock\.json is not a lock file"):
        read_pins(tmp_path / "lock.json")
