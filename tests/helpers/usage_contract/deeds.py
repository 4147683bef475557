"""Whatever is done with a key, what is counted does not drift from what its records show."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.service.domain.errors import LongtakeError
from core.service.domain.schema import JobChange, JobExtension
from tests.helpers.jobs import refine_spec
from tests.helpers.usage_contract.keys import ERROR, KeyOf, UsagePorts

Deed = Callable[[KeyOf, str, int], object]
DEEDS: dict[str, Deed] = {
    "branch": lambda key, _job, frames: key.create(num_frames=frames + 1, shares=1),
    "cancel": lambda key, job, _: key.store.request_cancel(job),
    "complete": lambda key, job, _: key.complete(job),
    "copy": lambda key, job, _: key.copy(job),
    "create": lambda key, _job, frames: key.create(num_frames=frames),
    "create as an upload is called": lambda key, _job, frames: key.create(job_id=key.upload(frames).id),
    "delete": lambda key, job, _: key.store.request_delete(job),
    "extend": lambda key, job, frames: key.store.extend(job, JobExtension(num_frames=frames)),
    "fail": lambda key, job, _: key.store.fail(job, ERROR),
    "finish": lambda key, job, frames: key.finish(job, frames),
    "lengthen": lambda key, job, frames: key.store.steer(job, JobChange(num_frames=frames)),
    "make": lambda key, job, _: key.make_chunk(job),
    "purge": lambda key, job, _: key.purge(job),
    "refine": lambda key, job, _: key.refine(job),
    "refined": lambda key, _job, frames: key.create(num_frames=frames, refine=refine_spec()),
    "retry": lambda key, job, _: key.store.retry(job),
    "unlimit": lambda key, job, frames: key.store.steer(job, JobChange(num_frames=None), 10 * frames),
    "upload": lambda key, _job, frames: key.upload(frames),
}
SHARED = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)
"""Checks that do not fit a contract: each class that keeps it runs it with ports of its own."""
DONE = st.tuples(st.sampled_from(sorted(DEEDS)), st.integers(0, 1), st.integers(16, 40))


class DeedContract:
    """Every test gets `ports`, and makes keys of its own."""

    @settings(max_examples=60, deadline=None, suppress_health_check=SHARED)
    @given(done=st.lists(DONE, min_size=10, max_size=50))
    def test_whatever_is_done_the_count_is_that_of_the_records(
        self, ports: UsagePorts, done: list[tuple[str, int, int]]
    ) -> None:
        ports.lose_all()
        ports.mark_rebuilt()
        key = ports.key()
        key.create()
        for deed, number, frames in done:
            with suppress(LongtakeError):
                DEEDS[deed](key, key.ids[number % len(key.ids)], frames)
            assert key.used == key.expected(), deed
