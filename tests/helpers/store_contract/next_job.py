"""Which job is next, and what dead workers leave."""

from __future__ import annotations

from core.service.domain.schema import (
    Lane,
)
from tests.helpers.jobs import (
    chunk_of,
    queued_job,
)
from tests.helpers.store_contract.ports import (
    LONG,
    WITH_VIDEO,
    StorePorts,
    prepared_of,
    progress,
)


class NextJobContract:
    """Every test gets fresh, empty `ports`."""

    def test_what_has_begun_comes_first_then_the_oldest(self, ports: StorePorts) -> None:
        for number, age in ((1, 10), (2, 30), (3, 20)):
            ports.store.create(queued_job(number, age_seconds=age))
        ports.make_chunk(queued_job(1), 0)
        model, order = queued_job().spec.model, list[str]()
        while (lease := ports.store.claim_next([Lane.GENERATE], model, "w1", LONG)) is not None:
            order.append(lease.job_id)
        assert order == [queued_job(number).id for number in (1, 2, 3)]

    def test_a_job_without_an_end_takes_turns_with_new_ones_by_its_last_chunk(self, ports: StorePorts) -> None:
        ports.store.create(queued_job(1, age_seconds=60, num_frames=None, endless_limit=900))
        for number, age in ((2, 30), (3, -30)):
            ports.store.create(queued_job(number, age_seconds=age))
        ports.make_chunk(queued_job(1), 0)
        ports.store.create(queued_job(4, age_seconds=20, num_frames=32))
        ports.make_chunk(queued_job(4), 0)
        model, order = queued_job().spec.model, list[str]()
        while (lease := ports.store.claim_next([Lane.GENERATE], model, "w1", LONG)) is not None:
            order.append(lease.job_id)
        assert order == [queued_job(number).id for number in (4, 2, 1, 3)]

    def test_every_queue_has_its_own_jobs(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.store.ready(Lane.GENERATE, "another", 1) == []
        assert ports.store.ready(Lane.REFINE, job.spec.model, 1) == []
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == [job.id]
        ports.make_all_chunks(job)
        assert ports.store.ready(Lane.GENERATE, job.spec.model, 1) == []
        assert ports.store.ready(Lane.FINALIZE, "", 1) == [job.id]

    def test_waiting_is_the_head_of_each_queue_without_an_active_worker(self, ports: StorePorts) -> None:
        assert ports.store.queued_work() == []
        for number, model in ((1, "a"), (2, "a"), (3, "b")):
            ports.store.create(queued_job(number, age_seconds=-number, model=model))
        ports.claim(queued_job(3))
        assert [(head.lane, head.record.id) for head in ports.store.queued_work()] == [
            (Lane.GENERATE, queued_job(1).id)
        ]

    def test_a_long_queue_behind_many_workers_is_found(self, ports: StorePorts) -> None:
        for number in range(80):
            ports.claim(ports.store.create(queued_job(number, age_seconds=-number)))
        last = ports.store.create(queued_job(99, age_seconds=-99))
        assert ports.store.ready(Lane.GENERATE, last.spec.model, 1) == [last.id]

    def test_the_lane_of_a_dead_worker_is_released_at_once(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job, worker="doomed")
        assert ports.store.release_of_worker("doomed") == lease
        assert not ports.store.lease_alive(job.id, Lane.GENERATE)
        state = ports.store.get(job.id).lane(Lane.GENERATE)
        assert (state.attempts, state.deaths) == (0, 1)
        assert ports.store.release_of_worker("doomed") is None
        assert ports.store.release_of_worker("nobody") is None

    def test_a_lane_that_a_dead_worker_has_committed_is_not_released(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.commit_chunk(ports.claim(job, worker="doomed"), chunk_of(job, 0), "f1")
        ports.claim(job, worker="w2")
        assert ports.store.release_of_worker("doomed") is None
        assert ports.store.lease_alive(job.id, Lane.GENERATE)

    def test_a_report_of_progress_tells_a_worker_to_stop(self, ports: StorePorts) -> None:
        canceled, deleted = (ports.store.create(queued_job(number)) for number in (1, 2))
        for job in (canceled, deleted):
            ports.claim(job)
            assert not ports.store.report_progress(job.id, progress(1))
        ports.store.request_cancel(canceled.id)
        assert ports.store.report_progress(canceled.id, progress(2))
        ports.store.request_delete(deleted.id)
        assert ports.store.report_progress(deleted.id, progress(2))
        ports.store.purge(deleted.id)
        assert ports.store.report_progress(deleted.id, progress(3))

    def test_a_job_that_kills_its_workers_while_others_get_on_is_poison(self, ports: StorePorts) -> None:
        poison = ports.store.create(queued_job(1))
        other = ports.store.create(queued_job(2, num_frames=160))
        for index in range(5):
            assert not ports.claim(poison, worker="doomed").poison
            ports.make_chunk(other, index)
            ports.store.release_of_worker("doomed")
        assert ports.claim(poison).poison

    def test_media_prepared_during_an_outage_of_engines_make_no_job_poison(self, ports: StorePorts) -> None:
        unlucky = ports.store.create(queued_job(1))
        for number in range(2, 8):
            assert not ports.claim(unlucky, worker="doomed").poison
            other = ports.store.create(queued_job(number, **WITH_VIDEO))
            lease = ports.claim(other, Lane.PREPARE)
            ports.store.commit_prepare(lease, prepared_of(lease))
            ports.store.release_of_worker("doomed")
        assert not ports.claim(unlucky).poison
