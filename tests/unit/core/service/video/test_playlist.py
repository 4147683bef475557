"""The playlist's text, line by line. tests/integration/test_hls.py plays it."""

from __future__ import annotations

import pytest

from core.service.video.playlist import PlaylistEntry, render_playlist, render_sliding_playlist

ENTRIES = [
    PlaylistEntry("http://s3/b/jobs/a/chunks/00000.mp4?X=1", size_bytes=3000, head_bytes=782, num_frames=16),
    PlaylistEntry("http://s3/b/jobs/a/chunks/00001.mp4?X=2", size_bytes=2000, head_bytes=782, num_frames=1),
]


def lines_starting(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def test_a_finished_playlist_reads_as_this() -> None:
    assert render_playlist(ENTRIES, 8, ended=True) == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:7\n"
        "#EXT-X-TARGETDURATION:2\n"
        "#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXT-X-PLAYLIST-TYPE:EVENT\n"
        "#EXT-X-INDEPENDENT-SEGMENTS\n"
        "#EXT-X-START:TIME-OFFSET=0\n"
        '#EXT-X-MAP:URI="http://s3/b/jobs/a/chunks/00000.mp4?X=1",BYTERANGE="782@0"\n'
        "#EXTINF:2.000000,\n"
        "#EXT-X-BYTERANGE:2218@782\n"
        "http://s3/b/jobs/a/chunks/00000.mp4?X=1\n"
        "#EXTINF:0.125000,\n"
        "#EXT-X-BYTERANGE:1218@782\n"
        "http://s3/b/jobs/a/chunks/00001.mp4?X=2\n"
        "#EXT-X-ENDLIST\n"
    )


def test_a_growing_playlist_only_appends() -> None:
    growing = [render_playlist(ENTRIES[:count], 8, ended=False) for count in (1, 2)]

    assert growing[1].startswith(growing[0])
    assert render_playlist(ENTRIES, 8, ended=True).startswith(growing[1])
    assert "ENDLIST" not in growing[1]


def test_a_sliding_playlist_names_the_index_of_its_first_chunk_and_has_no_kind() -> None:
    assert render_sliding_playlist(ENTRIES[:1], ENTRIES[1:], 30, 70) == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:7\n"
        "#EXT-X-TARGETDURATION:1\n"
        "#EXT-X-MEDIA-SEQUENCE:70\n"
        "#EXT-X-INDEPENDENT-SEGMENTS\n"
        '#EXT-X-MAP:URI="http://s3/b/jobs/a/chunks/00000.mp4?X=1",BYTERANGE="782@0"\n'
        "#EXTINF:0.033334,\n"
        "#EXT-X-BYTERANGE:1218@782\n"
        "http://s3/b/jobs/a/chunks/00001.mp4?X=2\n"
    )


def test_a_segment_s_lines_are_the_same_in_both_kinds() -> None:
    entries = [PlaylistEntry(f"{index}.mp4", 2000, 782, 16) for index in range(200)]
    whole = render_playlist(entries, 30, ended=False)
    sliding = render_sliding_playlist(entries[:1], entries[184:], 30, 184)
    assert whole.endswith(sliding[sliding.index("#EXTINF") :])


def test_a_playlist_without_chunks_names_no_init_segment() -> None:
    text = render_playlist([], 8, ended=False)

    assert not lines_starting(text, "#EXT-X-MAP")
    assert not lines_starting(text, "#EXTINF")


@pytest.mark.parametrize(("fps", "seconds"), [(1, 16), (7, 3), (8, 2), (15, 2), (16, 1), (24, 1), (60, 1)])
def test_the_target_duration_follows_from_fps_alone(fps: int, seconds: int) -> None:
    for entries in (ENTRIES[:0], ENTRIES[:1], ENTRIES):
        assert lines_starting(render_playlist(entries, fps, ended=False), "#EXT-X-TARGETDURATION") == [
            f"#EXT-X-TARGETDURATION:{seconds}"
        ]
