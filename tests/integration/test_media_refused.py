"""Files that cannot be used, made by FFmpeg: each is refused with what is wrong with it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from core.service.domain.errors import MediaTypeRefused, MediaUnreadable, VideoTooShort
from core.service.media.image import decode_image
from tests.helpers.ffmpeg import ffmpeg, frame_with_number, made
from tests.helpers.media_kinds import H264, VP8, VP9, read, refusal

FRAGMENTED = ("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-g", "6")


CUT_FILES: dict[str, tuple[str, tuple[str, ...]]] = {
    "mp4-index-behind": ("a.mp4", H264),
    "mp4-index-before": ("a.mp4", (*H264, "-movflags", "faststart")),
    "mp4-fragmented": ("a.mp4", (*H264, *FRAGMENTED)),
    "mov": ("a.mov", H264),
    "mov-index-before": ("a.mov", (*H264, "-movflags", "faststart")),
    "webm-vp8": ("a.webm", VP8),
    "webm-vp9": ("a.webm", VP9),
    "webm-live": ("a.webm", (*VP9, "-live", "1")),
    "mkv": ("a.mkv", H264),
    "mkv-live": ("a.mkv", (*H264, "-live", "1")),
}


@pytest.mark.parametrize(("name", "options"), CUT_FILES.values(), ids=CUT_FILES)
def test_truncated_videos_are_unreadable_and_named_as_truncated(
    tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    whole = made(tmp_path / name, *options).read_bytes()
    read(tmp_path / name)
    for num_bytes in (len(whole) * 3 // 10, len(whole) * 6 // 10, len(whole) * 9 // 10, len(whole) - 3):
        (tmp_path / "cut").write_bytes(whole[:num_bytes])
        error = refusal(tmp_path / "cut")
        assert error.code == MediaUnreadable.code
        assert "cut off" in error.message, num_bytes


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_truncated_images_are_unreadable_and_named_as_truncated(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"a.{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=320x240", "-frames:v", "1", str(whole))
    decode_image(whole, 100_000)
    for part in (0.1, 0.5, 0.9):
        (tmp_path / "cut").write_bytes(whole.read_bytes()[: int(whole.stat().st_size * part)])
        with pytest.raises(MediaUnreadable, match="cut off"):
            decode_image(tmp_path / "cut", 100_000)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.webm", "a.mkv"])
def test_sound_alone_is_refused_as_a_type(tmp_path: Path, name: str) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", "libopus" if name == "a.webm" else "aac", str(tmp_path / name))
    error = refusal(tmp_path / name)
    assert (error.code, error.message) == (MediaTypeRefused.code, "the video has sound but no picture")


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    Image.fromarray(frame_with_number(0)).save(tmp_path / "cover.jpg")
    cover = ("-i", str(tmp_path / "cover.jpg"), "-map", "0", "-map", "1", "-disposition:v:0", "attached_pic")
    ffmpeg("-f", "lavfi", "-i", "sine=d=3", *cover, "-c:v", "copy", "-c:a", "aac", str(tmp_path / "song.mp4"))
    assert refusal(tmp_path / "song.mp4").message == "the video has sound but no picture"


def test_an_encrypted_video_is_refused_as_such(tmp_path: Path) -> None:
    plain = made(tmp_path / "plain.mp4", *H264)
    path, key = tmp_path / "drm.mp4", "76a6c65c5ea762046bd749a2e632ccbb"
    scheme = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", key, "-encryption_kid", key[::-1])
    ffmpeg("-i", str(plain), "-c", "copy", *scheme, str(path))
    error = refusal(path)
    assert (error.code, error.message) == (MediaTypeRefused.code, "the video is encrypted (DRM)")


def test_a_video_without_frames_is_unreadable(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mp4", *H264, *FRAGMENTED, num_frames=1)
    header = path.read_bytes()
    path.write_bytes(header[: header.index(b"moof") - 4])
    error = refusal(path)
    assert error.code == MediaUnreadable.code
    assert "has no frames" in error.message


def test_too_short_a_video_says_how_many_frames_it_has_at_a_rational_rate(tmp_path: Path) -> None:
    path = made(tmp_path / "a.mp4", *H264, rate="24000/1001", num_frames=12)
    with pytest.raises(VideoTooShort, match=r"12 frames at 23\.976 frames per second; 16 are needed") as caught:
        read(path, Fraction(24000, 1001))
    assert str(caught.value.fix).startswith("give at least 0.667 s")
