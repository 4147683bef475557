"""The playlist of a job as it stands: of a job without an end, while it runs, the newest chunks alone."""

from __future__ import annotations

from collections.abc import Sequence

from api.backends.ports import Ports
from core.service.domain.frame_plan import CHUNK_FRAMES
from core.service.domain.link_tokens import with_token
from core.service.domain.schema import ChunkRecord, JobRecord, Variant
from core.service.domain.views import chunk_path
from core.service.settings import Settings
from core.service.video.playlist import SLIDING_CHUNKS, PlaylistEntry, render_playlist, render_sliding_playlist


def playlist_text(
    ports: Ports, settings: Settings, record: JobRecord, variant: Variant, token: str | None, *, ended: bool
) -> str:
    """The playlist of a job with at least one chunk of the variant. `token` is that of its links; `ended`: no more
    will come."""
    base = "" if settings.media_base_url is None else f"{settings.media_base_url}/jobs/{record.id}/"
    count, fps = record.totals(variant).count, record.spec.fps

    def entries(start: int, stop: int) -> Sequence[PlaylistEntry]:
        chunks = ports.store.chunks(record.id, variant, start, stop)
        # A short last chunk of a job that was extended is about to get more frames, but no line may change.
        return [_entry(chunk, variant, base, token) for chunk in chunks if ended or chunk.num_frames == CHUNK_FRAMES]

    if ended or not record.has_sliding_playlist:
        return render_playlist(entries(0, count), fps, ended=ended)
    first = max(0, count - SLIDING_CHUNKS)
    return render_sliding_playlist(entries(0, 1), entries(first, count), fps, first)


def _entry(chunk: ChunkRecord, variant: Variant, base: str, token: str | None) -> PlaylistEntry:
    return PlaylistEntry(
        url=with_token(base + chunk_path(chunk.index, variant), token),
        num_frames=chunk.num_frames,
        head_bytes=chunk.head_bytes,
        size_bytes=chunk.size_bytes,
    )
