"""Who holds a lane, and what a stale holder may not do."""

from __future__ import annotations

import pytest

from core.service.domain.errors import StaleLease
from core.service.domain.ports import (
    Lease,
)
from core.service.domain.schema import (
    JobStatus,
    Lane,
)
from tests.helpers.jobs import (
    chunk_of,
    queued_job,
)
from tests.helpers.store_contract.ports import (
    LONG,
    SHORT,
    StorePorts,
)


class LeaseContract:
    """Every test gets fresh, empty `ports`."""

    def test_a_lane_has_one_live_lease(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        assert ports.store.claim(job.id, Lane.GENERATE, "w2", LONG) is None
        assert ports.store.lease_alive(job.id, Lane.GENERATE)
        assert lease == Lease(job.id, Lane.GENERATE, 1, "w1")
        assert ports.store.get(job.id).lane(Lane.GENERATE).attempts == 0

    def test_a_lane_that_has_no_work_is_not_claimed(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.claim(job.id, Lane.FINALIZE, "w1", LONG) is None
        ports.make_all_chunks(job)
        assert ports.store.claim(job.id, Lane.GENERATE, "w1", LONG) is None

    def test_an_expired_lease_is_followed_by_a_newer_token(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        first = ports.claim(job, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        second = ports.claim(job, worker="w2")
        assert second.token > first.token
        assert not ports.store.renew(first, LONG)
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(first, chunk_of(job, 0), "f1")
        assert ports.store.commit_chunk(second, chunk_of(job, 0), "f1").version == 1

    def test_a_stale_commit_is_refused_after_the_newer_lease_is_gone(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        stale = ports.claim(job, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        ports.store.release(ports.claim(job), count_attempt=True)
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(stale, chunk_of(job, 0), "f1")

    def test_an_expired_but_unclaimed_lease_still_commits(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job, ttl=SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        assert ports.store.commit_chunk(lease, chunk_of(job, 0), "f1").version == 1

    def test_an_expired_lease_is_renewed_if_unclaimed(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job, ttl=5.0)
        assert ports.store.renew(lease, SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        assert ports.store.renew(lease, LONG)
        assert ports.store.lease_alive(job.id, Lane.GENERATE)
        assert ports.store.claim(job.id, Lane.GENERATE, "w2", LONG) is None

    def test_a_lease_that_was_given_back_or_whose_job_is_deleted_is_not_renewed(self, ports: StorePorts) -> None:
        given_back, deleted = ports.store.create(queued_job(1)), ports.store.create(queued_job(2))
        first, second = ports.claim(given_back), ports.claim(deleted, ttl=SHORT)
        ports.store.release(first, count_attempt=False)
        ports.store.request_delete(deleted.id)
        ports.wait_until_free(deleted.id, Lane.GENERATE)
        assert not ports.store.renew(first, LONG)
        assert not ports.store.renew(second, LONG)

    def test_a_worker_keeps_the_lane_with_its_commit(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        first = ports.claim(job)
        committed = ports.store.commit_and_claim(first, chunk_of(job, 0), "f1", LONG)
        assert (committed.version, committed.lane(Lane.GENERATE).held) == (1, True)
        second = Lease(job.id, Lane.GENERATE, first.token + 1, "w1")
        assert committed.lane(Lane.GENERATE).token == second.token
        assert ports.store.get(job.id) == committed
        assert ports.store.renew(second, LONG)
        assert ports.store.claim(job.id, Lane.GENERATE, "w2", LONG) is None
        with pytest.raises(StaleLease):
            ports.store.commit_chunk(first, chunk_of(job, 1), "f1")
        assert not ports.store.commit_chunk(second, chunk_of(job, 1), "f1").lane(Lane.GENERATE).held
        assert ports.event_types(job)[2:] == ["chunk.completed", "chunk.completed"]

    def test_a_lane_is_kept_only_while_it_has_work(self, ports: StorePorts) -> None:
        job, canceled = (ports.store.create(queued_job(number)) for number in (1, 2))
        ports.make_chunk(job, 0)
        complete = ports.store.commit_and_claim(ports.claim(job), chunk_of(job, 1), "f1", LONG)
        lease = ports.claim(canceled)
        ports.store.request_cancel(canceled.id)
        stopped = ports.store.commit_and_claim(lease, chunk_of(canceled, 0), "f1", LONG)
        for ended in (complete, stopped):
            assert (ended.status, ended.lane(Lane.GENERATE).held) == (JobStatus.FINALIZING, False)
            assert not ports.store.lease_alive(ended.id, Lane.GENERATE)

    def test_a_kept_lane_survives_the_loss_of_its_answer_and_is_given_back_by_the_lease_before(
        self, ports: StorePorts
    ) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        lease = ports.claim(job)
        committed = ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG)
        assert ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG) == committed
        assert ports.event_types(job).count("chunk.completed") == 1
        ports.store.release(lease, count_attempt=False)
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)
        other = ports.claim(job, worker="w2")
        ports.store.release(lease, count_attempt=False)
        assert ports.store.lease_alive(job.id, Lane.GENERATE)
        with pytest.raises(StaleLease):
            ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG)
        assert other.token == committed.lane(Lane.GENERATE).token + 1

    def test_a_kept_lane_is_renewed_by_the_lease_before_until_another_claims_it(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        lease = ports.claim(job)
        ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG)
        assert ports.store.renew(lease, SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        assert ports.store.renew(lease, SHORT), "expired, but nobody else has claimed the lane"
        assert ports.store.lease_alive(job.id, Lane.GENERATE)
        assert ports.store.renew(Lease(job.id, Lane.GENERATE, lease.token + 1, "w1"), SHORT)
        ports.wait_until_free(job.id, Lane.GENERATE)
        ports.claim(job, worker="w2")
        assert not ports.store.renew(lease, LONG)

    def test_a_kept_lane_is_released_with_its_dead_worker(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job(num_frames=48))
        lease = ports.claim(job, worker="doomed")
        committed = ports.store.commit_and_claim(lease, chunk_of(job, 0), "f1", LONG)
        freed = ports.store.release_of_worker("doomed")
        assert freed is not None
        assert freed.token == committed.lane(Lane.GENERATE).token
        state = ports.store.get(job.id).lane(Lane.GENERATE)
        assert (state.held, state.deaths, state.lonely_deaths) == (False, 1, 1)
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)

    def test_a_paused_lane_is_not_claimed_and_counts_as_inactive(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.release(ports.claim(job), count_attempt=True, rest_seconds=LONG)
        assert ports.store.claim(job.id, Lane.GENERATE, "w1", LONG) is None
        assert ports.store.claim_next([Lane.GENERATE], job.spec.model, "w1", LONG) is None
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)
