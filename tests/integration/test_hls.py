"""The playlist played by a real HLS demuxer, its chunks fetched from the real S3 server by presigned URLs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pydantic import SecretStr

from cli.processes.embedded import EmbeddedS3
from core.service.domain.frame_plan import chunk_span, num_chunks
from core.service.s3.storage import S3Storage
from core.service.settings import Settings
from core.service.video.decode import decode_frames
from core.service.video.playlist import CONTENT_TYPE, PlaylistEntry, render_playlist
from core.service.video.segments import encode_chunk
from tests.helpers.pictures import numbered_frames, numbers_are_in_order

FAST_FPS = 60
"""A chunk lasts 0.27 s then, so that a live player does not wait long between two looks at the playlist."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Storage]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        storage = S3Storage(
            Settings(
                s3_endpoint_url=server.endpoint_url,
                s3_access_key_id=server.access_key_id,
                s3_secret_access_key=SecretStr(server.secret_access_key),
            )
        )
        storage.ensure_bucket()
        yield storage


def stored_video(storage: S3Storage, num_frames: int, fps: int) -> list[PlaylistEntry]:
    """Put a video's chunks into the storage; their playlist entries."""
    entries: list[PlaylistEntry] = []
    for index in range(num_chunks(num_frames)):
        span = chunk_span(index, num_frames)
        frames_THWC = numbered_frames(span.num_frames, span.first_frame)
        chunk = encode_chunk(frames_THWC, fps, index, span.first_frame)
        key = f"jobs/job_{num_frames}_{fps}/chunks/{index:05d}.mp4"
        storage.put(key, chunk.data, "video/mp4")
        entries.append(PlaylistEntry(storage.url(key), len(chunk.data), chunk.head_bytes, span.num_frames))
    return entries


@contextmanager
def playlist_server(text: Callable[[], str]) -> Generator[str]:
    """Serves what `text` gives at each request; the playlist's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = text().encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/playlist.m3u8"
        finally:
            server.shutdown()
            thread.join()


def growing(entries: Sequence[PlaylistEntry], fps: int, start: int) -> Callable[[], str]:
    """The playlist with `start` chunks at the first look, one more at every further one, and its end in a last one."""
    looks = iter(range(start, len(entries) + 1))

    def text() -> str:
        count = next(looks, None)
        return render_playlist(entries[:count], fps, ended=count is None)

    return text


@pytest.mark.parametrize("num_frames", [16, 17, 48, 100])
def test_a_finished_playlist_plays_every_frame_in_order(storage: S3Storage, num_frames: int) -> None:
    entries = stored_video(storage, num_frames, fps=8)

    with playlist_server(lambda: render_playlist(entries, 8, ended=True)) as url:
        frames_THWC = decode_frames(url)

    assert len(frames_THWC) == num_frames
    assert numbers_are_in_order(frames_THWC)


@pytest.mark.parametrize("num_frames", [16, 17, 48, 100])
@pytest.mark.parametrize("start", [1, 4])
def test_a_playlist_that_grows_while_it_plays_plays_every_frame_in_order(
    storage: S3Storage, num_frames: int, start: int
) -> None:
    entries = stored_video(storage, num_frames, FAST_FPS)

    with playlist_server(growing(entries, FAST_FPS, min(start, len(entries)))) as url:
        frames_THWC = decode_frames(url)

    assert len(frames_THWC) == num_frames
    assert numbers_are_in_order(frames_THWC)
