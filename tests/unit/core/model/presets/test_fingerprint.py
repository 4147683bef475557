"""The digest of weights follows their content, and is cheap where the content is large."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.model.checksums import SUMS_FILE, file_sha256, format_sums
from core.model.presets.fingerprint import weights_digest

LARGE_BYTES = 80 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A config and weights of 80 MB (zeros, which need no room on the disk), both recorded."""
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text("{}")
    with (tmp_path / "unet" / "model.safetensors").open("wb") as file:
        file.truncate(LARGE_BYTES)
    record(tmp_path)
    return tmp_path


def record(folder: Path) -> None:
    names = ("unet/config.json", "unet/model.safetensors")
    (folder / SUMS_FILE).write_text(format_sums({name: file_sha256(folder / name) for name in names}))


def change(file: Path, place: int, count: int = 1) -> None:
    """Other bytes of the same number."""
    with file.open("r+b") as stream:
        stream.seek(place)
        stream.write(b"\1" * count)


def test_weights_in_a_torch_file_count(folder: Path) -> None:
    before = weights_digest(folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"1")

    assert weights_digest(folder) != before


@pytest.mark.parametrize("name", ["refiner", ".refiner.part"])
def test_a_refiner_that_comes_later_changes_nothing(folder: Path, name: str) -> None:
    before = weights_digest(folder)
    (folder / name).mkdir()
    (folder / name / "config.json").write_text("{}")

    assert weights_digest(folder) == before
    assert weights_digest(folder / name) != before


@pytest.mark.parametrize("place", [0, 100, LARGE_BYTES - 1], ids=["length", "header", "last byte"])
def test_replaced_weights_are_noticed_under_an_old_record(folder: Path, place: int) -> None:
    before = weights_digest(folder)
    change(folder / "unet" / "model.safetensors", place)

    assert weights_digest(folder) != before


def test_a_replaced_stretch_is_noticed_wherever_it_is(folder: Path) -> None:
    digests = {weights_digest(folder)}
    for start in range(5 << 20, LARGE_BYTES - (2 << 20), 20 << 20):
        change(folder / "unet" / "model.safetensors", start, 2 << 20)
        digests.add(weights_digest(folder))
    assert len(digests) == 5


def test_any_change_is_noticed_once_it_is_recorded(folder: Path) -> None:
    before = weights_digest(folder)
    change(folder / "unet" / "model.safetensors", LARGE_BYTES // 2 + 12345)
    record(folder)

    assert weights_digest(folder) != before


@pytest.mark.parametrize("name", ["unet/config.json", "unet/model.safetensors"])
def test_what_is_small_or_unrecorded_counts_in_full(folder: Path, name: str) -> None:
    (folder / SUMS_FILE).unlink()
    before = weights_digest(folder)
    change(folder / name, (folder / name).stat().st_size // 2 + 1)

    assert weights_digest(folder) != before


def test_a_longer_file_is_noticed(folder: Path) -> None:
    before = weights_digest(folder)
    with (folder / "unet" / "model.safetensors").open("ab") as file:
        file.truncate(LARGE_BYTES + 8)

    assert weights_digest(folder) != before
