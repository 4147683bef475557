"""Files are identified by their bytes, whatever was declared; refusals name the type found."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.service.domain.errors import MediaError, MediaTypeRefused, MediaUnreadable
from core.service.domain.media_types import MediaKind
from core.service.media.limited_file import MediaSink
from tests.helpers.clips import picture


def refusal(folder: Path, kind: MediaKind, data: bytes) -> MediaError:
    def bring() -> None:
        with MediaSink(folder / "given", kind, 10_000) as sink:
            sink.write(data)
            sink.finish()

    with pytest.raises(MediaError) as caught:
        bring()
    assert caught.value.fix
    return caught.value


def test_an_empty_file_is_unreadable(tmp_path: Path) -> None:
    error = refusal(tmp_path, MediaKind.VIDEO, b"")
    assert (error.code, error.message) == (MediaUnreadable.code, "the video has no bytes")


@pytest.mark.parametrize("size", [1, 5000])
def test_a_page_in_place_of_a_file_is_called_one(tmp_path: Path, size: int) -> None:
    error = refusal(tmp_path, MediaKind.VIDEO, b"<!doctype html>" + b" " * size)
    assert error.code == MediaTypeRefused.code
    assert "is an HTML page" in error.message
    assert "no login" in str(error.fix)


def test_a_picture_given_as_a_video_is_said_to_be_one(tmp_path: Path) -> None:
    error = refusal(tmp_path, MediaKind.VIDEO, picture((1, 2, 3)))
    assert (error.code, error.message) == (MediaTypeRefused.code, "the video is image/png, by its first bytes")
    assert str(error.fix).startswith("give it as `image`, or give one of video/mp4")
