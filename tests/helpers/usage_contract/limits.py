"""What a key's limits refuse, and when it may go on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.service.domain.api_keys import KeyLimits
from core.service.domain.errors import LimitReached, UsageUnknown
from core.service.domain.schema import JobChange, JobExtension
from core.service.domain.usage import KeyUsage
from tests.helpers.usage_contract.keys import CHUNK_BYTES, UsagePorts


class LimitContract:
    """Every test gets `ports`, and makes keys of its own."""

    def test_jobs_beyond_the_limit_are_refused_until_one_ends(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(unfinished_jobs=2)
        first = key.create(limits)
        key.create(limits)
        with pytest.raises(LimitReached, match="2 jobs that have not ended; it may have 2") as refused:
            key.create(limits)
        assert refused.value.retry_seconds == 30
        key.store.request_cancel(first)
        key.create(limits)
        with pytest.raises(LimitReached):
            key.store.retry(first, limits)
        assert key.used.unfinished_jobs == 2
        ports.key().create(limits)

    def test_frames_beyond_the_day_are_refused_until_midnight(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(frames_per_day=100)
        ports.clock.advance(86_400 - 3600 - ports.clock.now().timestamp() % 86_400)
        job = key.create(limits, num_frames=80)
        with pytest.raises(LimitReached, match="32 frames are asked for; the API key has 20 of its 100") as refused:
            key.create(limits)
        assert (refused.value.retry_seconds, refused.value.field) == (3600, "num_frames")
        with pytest.raises(LimitReached):
            key.store.steer(job, JobChange(num_frames=101), limits=limits)
        key.store.steer(job, JobChange(num_frames=100), limits=limits)
        key.store.steer(job, JobChange(prompt="a blue square", num_frames=90), limits=limits)
        ports.clock.advance(3600)
        key.create(limits, num_frames=100)

    def test_an_extension_beyond_the_day_is_refused(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(frames_per_day=64)
        job = key.create(limits)
        key.make_chunk(job)
        key.make_chunk(job)
        key.finish(job)
        with pytest.raises(LimitReached):
            key.store.extend(job, JobExtension(num_frames=33), limits)
        key.store.extend(job, JobExtension(num_frames=32), limits)

    def test_nothing_is_stored_beyond_the_limit(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(stored_bytes=CHUNK_BYTES)
        with pytest.raises(LimitReached):
            key.upload(CHUNK_BYTES + 1, limits)
        upload = key.upload(CHUNK_BYTES - 1, limits)
        job = key.create(limits)
        key.make_chunk(job)
        with pytest.raises(LimitReached, match="bytes of videos and uploads stored; it may have 5000"):
            key.create(limits)
        with pytest.raises(LimitReached):
            key.upload(1, limits)
        key.store.request_cancel(key.create())
        key.store.request_delete(job)
        ports.uploads.remove(upload.id)
        key.create(limits)

    @pytest.mark.parametrize("limit", ["unfinished_jobs", "frames_per_day", "stored_bytes"])
    def test_nobody_gets_more_than_the_limits_while_what_is_used_is_counted_again(
        self, ports: UsagePorts, limit: str
    ) -> None:
        key, limits, other = ports.key(), KeyLimits.model_validate({limit: 1000}), KeyLimits(frames=1000)
        ports.lose_all()
        ended, running = key.create(other), key.create()
        key.store.request_cancel(ended)
        refused: list[Callable[[], object]] = [
            lambda: key.create(limits),
            lambda: key.store.retry(ended, limits),
            lambda: key.store.extend(ended, JobExtension(num_frames=16), limits),
            lambda: key.store.steer(running, JobChange(num_frames=33), limits=limits),
        ]
        for ask in refused:
            with pytest.raises(UsageUnknown):
                ask()
        key.store.steer(running, JobChange(prompt="a blue square", num_frames=31), limits=limits)
        ports.mark_rebuilt()
        key.create(limits)

    def test_nothing_is_uploaded_while_the_bytes_are_counted_again(self, ports: UsagePorts) -> None:
        key, limits = ports.key(), KeyLimits(stored_bytes=CHUNK_BYTES)
        ports.lose_all()
        key.upload(1, KeyLimits(unfinished_jobs=1))
        with pytest.raises(UsageUnknown):
            key.upload(1, limits)
        ports.mark_rebuilt()
        key.upload(1, limits)

    def test_a_refused_job_leaves_nothing(self, ports: UsagePorts) -> None:
        key = ports.key()
        with pytest.raises(LimitReached):
            key.create(KeyLimits(unfinished_jobs=0))
        assert key.used == key.expected() == KeyUsage()

    def test_requests_are_counted_by_key_and_window(self, ports: UsagePorts) -> None:
        key, other = ports.key().id, ports.key().id
        assert [ports.counts.take(key, 7, portion) for portion in (10, 5, 1)] == [0, 10, 15]
        assert (ports.counts.take(key, 8, 1), ports.counts.take(other, 7, 1)) == (0, 0)
