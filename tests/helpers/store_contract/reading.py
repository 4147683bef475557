"""What clients read of a job: polls, links, progress, events."""

from __future__ import annotations

import threading

import pytest

from core.service.domain.errors import JobNotFound
from core.service.domain.ports import (
    LogPosition,
)
from core.service.domain.schema import (
    ChunkLists,
)
from tests.helpers.jobs import (
    chunk_of,
    progress_of,
    queued_job,
)
from tests.helpers.store_contract.ports import (
    LONG,
    StorePorts,
    progress,
)


class ReadingContract:
    """Every test gets fresh, empty `ports`."""

    # What clients poll

    def test_a_mark_changes_with_everything_that_a_client_sees(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        marks = [*ports.store.marks([job.id])]

        def changed() -> bool:
            marks.extend(ports.store.marks([job.id]))
            assert marks[-1] == ports.store.look(job.id).mark
            return marks[-1] not in marks[:-1]

        older = ports.store.create(queued_job(2, age_seconds=60))
        assert changed()
        lease = ports.claim(job)
        assert changed()
        ports.store.report_progress(job.id, progress(1))
        assert changed()
        ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        assert changed()
        ports.store.request_cancel(older.id)
        assert ports.store.marks([job.id]) == marks[-1:]

    def test_a_look_has_record_progress_and_place(self, ports: StorePorts) -> None:
        waiting, job = ports.store.create(queued_job(2)), ports.store.create(queued_job())
        ports.claim(job)
        ports.store.report_progress(job.id, progress(3))
        for each in (waiting, job):
            seen = ports.store.look(each.id)
            assert (seen.record, seen.live) == (ports.store.get(each.id), ports.store.live_statuses([seen.record])[0])
        assert ports.store.look(waiting.id).live.queue_position == 1
        two = [ports.store.look(each.id) for each in (waiting, job)]
        assert ports.store.looks([waiting.id, "job_nowhere", job.id]) == [two[0], None, two[1]]
        assert ports.store.marks([waiting.id, "job_nowhere", job.id]) == [two[0].mark, None, two[1].mark]
        ports.store.request_delete(job.id)
        gone, still = ports.store.looks([job.id, waiting.id])
        assert gone is None
        assert still
        assert (still.record, still.live.queue_position) == (two[0].record, 1)
        for job_id in (job.id, "job_nowhere"):
            with pytest.raises(JobNotFound):
                ports.store.look(job_id)

    def test_restore_overwrites_nothing(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        newer = ports.make_chunk(job, 0)
        assert not ports.store.restore(job, ChunkLists())
        assert ports.store.get(job.id) == newer

    # Links

    def test_a_new_link_secret_is_a_change_that_reaches_the_manifest(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.manifest_stored(job)
        changed = ports.store.revoke_links(job.id, "b" * 32)
        assert changed == job.model_copy(update={"link_secret": "b" * 32, "revision": job.revision + 1})
        assert ports.store.get(job.id) == changed == ports.store.revoke_links(job.id, "b" * 32)
        assert ports.store.stale_manifests() == [changed]
        assert ports.event_types(job) == ["job.queued"]

    def test_links_of_a_deleted_job_cannot_be_revoked(self, ports: StorePorts) -> None:
        ports.store.request_delete(ports.store.create(queued_job()).id)
        with pytest.raises(JobNotFound):
            ports.store.revoke_links(queued_job().id, "b" * 32)

    # Progress and following

    def test_progress_is_the_last_report_until_the_commit(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        lease = ports.claim(job)
        assert progress_of(ports.store, job.id) is None
        for step in (1, 2):
            ports.store.report_progress(job.id, progress(step))
        assert progress_of(ports.store, job.id) == progress(2)
        ports.store.commit_chunk(lease, chunk_of(job, 0), "f1")
        assert progress_of(ports.store, job.id) is None

    def test_the_log_is_read_on_from_any_event(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.make_all_chunks(job)
        whole = ports.log.read(job.id)
        assert ports.log.read(job.id, after=whole[1].id) == whole[2:]
        assert ports.log.read(job.id, limit=2) == whole[:2]
        assert whole[2].data["chunk"]["index"] == 0

    def test_following_yields_existing_events_at_once(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        start = LogPosition("0-0", ports.log.newest([job.id])[job.id].reports)
        (news,) = ports.log.follow({job.id: start}, LONG)
        assert (news.job_id, news.events) == (job.id, ports.log.read(job.id))
        assert news.position == ports.log.newest([job.id])[job.id]

    def test_following_wakes_up_for_an_event_of_any_job(self, ports: StorePorts) -> None:
        jobs = [ports.store.create(queued_job(number)) for number in (1, 2, 3)]
        positions = ports.log.newest([job.id for job in jobs])
        canceler = threading.Timer(0.1, ports.store.request_cancel, [jobs[1].id])
        canceler.start()
        (news,) = ports.log.follow(positions, LONG)
        canceler.join()
        assert (news.job_id, [event.type for event in news.events]) == (jobs[1].id, ["job.canceled"])
        assert ports.log.follow({**positions, jobs[1].id: news.position}, 0.01) == []

    def test_following_wakes_up_for_new_progress_only(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        ports.store.report_progress(job.id, progress(1))
        positions = ports.log.newest([job.id])
        reporter = threading.Timer(0.1, ports.store.report_progress, [job.id, progress(2)])
        reporter.start()
        (news,) = ports.log.follow(positions, LONG)
        reporter.join()
        assert (news.events, news.progress) == ([], [progress(2)])
        assert ports.log.follow({job.id: news.position}, 0.01) == []

    def test_following_ends_when_the_time_is_up(self, ports: StorePorts) -> None:
        job = ports.store.create(queued_job())
        assert ports.log.follow(ports.log.newest([job.id, "job_unknown"]), 0.01) == []

    def test_jobs_without_a_log_stand_at_its_beginning(self, ports: StorePorts) -> None:
        assert ports.log.newest(["job_unknown"])["job_unknown"].event == "0-0"

    def test_jobs_that_no_worker_continues_are_stopped(self, ports: StorePorts) -> None:
        running, canceled, ended, deleted = (ports.store.create(queued_job(number)) for number in (1, 2, 3, 4))
        ports.claim(running)
        ports.claim(canceled)
        ports.store.request_cancel(canceled.id)
        ports.store.request_cancel(ended.id)
        ports.store.request_delete(deleted.id)
        ports.store.purge(deleted.id)
        asked = [running.id, canceled.id, ended.id, deleted.id, "job_unknown"]
        assert sorted(ports.log.stopped(asked)) == sorted(asked[1:])
