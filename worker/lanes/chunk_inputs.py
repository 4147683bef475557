"""What the engine of the generate lane gets: the state after an earlier chunk, and the input media."""

from __future__ import annotations

import logging
from abc import ABC
from functools import partial

from safetensors import SafetensorError

from core.service.domain.engine import NO_INPUT_MEDIA, EngineState, InputMedia
from core.service.domain.manifest import generation_of, state_key
from core.service.domain.schema import JobRecord
from worker.lanes.chunk_lane import ChunkLane
from worker.lanes.lane import Damaged
from worker.lanes.lease_keeper import LeaseKeeper
from worker.media.frame_pieces import FrameIndex, StoredFrames

logger = logging.getLogger(__name__)


class ChunkInputs(ChunkLane[EngineState], ABC):
    """The part of generate.ChunkMaker that reads what chunks are made from."""

    def _stored_state(self, index: int, record: JobRecord, keeper: LeaseKeeper) -> EngineState | None:
        """The state after chunk `index`; None if it is missing or damaged."""
        (chunk,) = self._chunks(record, "preview", index, index + 1, keeper)
        key = state_key(record.id, index, generation_of(chunk.key))
        data = self._get_checked(key, chunk.state_sha256, keeper)
        try:
            return None if data is None else EngineState.from_bytes(data)
        except (SafetensorError, KeyError) as error:
            logger.warning("%s cannot be read: %s", key, error)
            return None

    def _input_media(self, record: JobRecord, keeper: LeaseKeeper) -> InputMedia:
        """The decoded input media of the job. A generation worker fetches nothing from other hosts: what is missing
        or damaged is prepared again."""
        if record.spec.input_media is None:
            return NO_INPUT_MEDIA
        if record.prepared is None:
            raise Damaged(media=True)
        if record.prepared.whole_video:
            return self._video(record, keeper)
        return InputMedia.from_bytes(self._get_input(record.prepared.key, record.prepared.sha256, keeper))

    def _video(self, record: JobRecord, keeper: LeaseKeeper) -> InputMedia:
        """A reader of the whole input video, for engines that read one; otherwise nothing."""
        prepared = record.prepared
        if prepared is None or not prepared.whole_video:
            return NO_INPUT_MEDIA
        index = FrameIndex.model_validate_json(self._get_input(prepared.key, prepared.sha256, keeper))
        return InputMedia(video=StoredFrames(index, prepared.key, partial(self._get_input, keeper=keeper)))

    def _get_input(self, key: str, sha256: str, keeper: LeaseKeeper) -> bytes:
        data = self._get_checked(key, sha256, keeper)
        if data is None:
            raise Damaged(media=True)
        return data
