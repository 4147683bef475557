"""Each rule of the chaos run finds its violation, and none in a run without faults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.chaos.clients import Call, Submission
from tests.chaos.evidence import Event, Evidence, InjectedFault, JobEvidence, logged_commits
from tests.chaos.faults.redis import RedisWiped
from tests.chaos.invariants import judge, pieces_at_risk, pieces_repeated
from tests.chaos.schedule import JobKind, PlannedJob
from tests.helpers.webhook_receiver import Attempt

JOB, BASELINE = "job_a", "job_baseline"
AT = "2026-01-01T00:00:00Z"
AFTER = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
KIND = JobKind("two", 32)
WEBHOOKS = ("job.succeeded", "job.failed", "job.canceled")


def chunk(index: int, **changes: Any) -> dict[str, Any]:
    size = {"index": index, "first_frame": 16 * index, "num_frames": 16, "size_bytes": 9, "sha256": f"sha-{index}"}
    return {**size, "refined_url": None, "created_at": AT, **changes}


def answer(job_id: str, status: str = "succeeded", chunks: int = 2, **changes: Any) -> dict[str, Any]:
    """GET /jobs/{id}."""
    spec = {"prompt": "a red square", "seed": 3}
    times = {"created_at": AT, "started_at": AT, "finished_at": AT}
    told = {"id": job_id, "status": status, "version": chunks, "request": spec, "error": None, "progress": {}, **times}
    return {**told, "chunks": [chunk(index) for index in range(chunks)], **changes}


def manifest(job_id: str, status: str = "succeeded", chunks: int = 2, **changes: Any) -> dict[str, Any]:
    record = answer(job_id, status, chunks)
    lanes = {"generate": {"token": chunks, "attempts": 0}}
    return {**record, "spec": record["request"], "refined": [], "refine_done": 0, "lanes": lanes, **changes}


def events(status: str = "succeeded", chunks: int = 2) -> tuple[Event, ...]:
    made = [("chunk.completed", {"chunk": {"index": index}}) for index in range(chunks)]
    types: list[tuple[str, Mapping[str, Any]]] = [("job.queued", {}), ("job.started", {}), *made, (f"job.{status}", {})]
    return tuple(Event(f"{number}-0", type_, data) for number, (type_, data) in enumerate(types, 1))


def found(job_id: str = JOB, status: str = "succeeded", chunks: int = 2) -> JobEvidence:
    return JobEvidence(
        job_id,
        answer(job_id, status, chunks),
        events=events(status, chunks),
        manifest=manifest(job_id, status, chunks),
        keys=(f"jobs/{job_id}/manifest.json",),
        chunks=tuple(f"sha-{index}" for index in range(chunks)),
        videos={"preview": "video"},
    )


def delivered(webhook_id: str = "msg_1", event: str = "job.succeeded", answered: int = 204) -> Attempt:
    return Attempt({"Webhook-Id": webhook_id}, json.dumps({"type": event, "data": {"id": JOB}}), answered)


def submission(**changes: Any) -> Submission:
    planned = PlannedJob(0, 0.0, KIND, 3, "to its end", 0.0, 0, WEBHOOKS)
    fields: dict[str, Any] = {"job_id": JOB, "status": "succeeded", **changes}
    return Submission(planned, **fields)


def thrown(**changes: Any) -> InjectedFault:
    return replace(InjectedFault("worker killed", 1.0, 1.0, 0.0, "", costs_every_worker=False), **changes)


def evidence(**changes: Any) -> Evidence:
    """A run in which all went well, but for `changes`."""
    jobs = {JOB: found(), BASELINE: found(BASELINE)}
    well = Evidence(
        num_workers=2,
        submissions=[submission()],
        baseline={("two", 3): found(BASELINE)},
        jobs=jobs,
        after_wipe=changes.get("jobs", jobs),
        listed={JOB: 0, BASELINE: None},
        stored_ids=frozenset({JOB, BASELINE}),
        tries=[delivered()],
        thrown=[],
        calls=[Call(0.0, "GET", "GET /jobs/{id}", 200, 0.01)],
    )
    return replace(well, **changes)


def with_job(job: JobEvidence, **changes: Any) -> Evidence:
    return evidence(jobs={JOB: job, BASELINE: found(BASELINE)}, **changes)


def rules(evidence: Evidence) -> set[str]:
    return {violation.rule for violation in judge(evidence)}


def test_a_run_where_all_went_well_breaks_no_rule() -> None:
    assert judge(evidence()) == []


def test_a_job_that_was_accepted_and_is_unknown_is_lost() -> None:
    assert rules(with_job(JobEvidence(JOB, None), listed={BASELINE: None}, tries=[])) == {"lost"}


def test_a_job_that_has_not_ended_is_a_violation() -> None:
    assert "not ended" in rules(with_job(found(status="running"), submissions=[submission(status="running")]))


def test_a_failed_job_is_reported_with_its_error() -> None:
    job = found(status="failed")
    error = {"code": "worker_lost", "message": "died", "retryable": False}
    job = replace(
        job, answer={**answer(JOB, "failed"), "error": error}, manifest={**manifest(JOB, "failed"), "error": error}
    )
    (violation,) = judge(with_job(job, tries=[delivered(event="job.failed")]))
    assert (violation.rule, "worker_lost" in violation.text) == ("status", True)


def test_a_promised_cancel_is_kept_and_may_leave_the_beginning_of_the_video() -> None:
    job = replace(found(status="canceled", chunks=1), videos={"preview": "a shorter one"})
    told = {"tries": [delivered(event="job.canceled")]}
    assert rules(with_job(job, submissions=[submission(cancel="promised")], **told)) == set()
    assert rules(with_job(found(), submissions=[submission(cancel="promised")])) == {"status"}
    assert rules(with_job(found(), submissions=[submission(cancel="tried")])) == set()
    assert rules(with_job(job, **told)) == {"status"}


def test_a_deleted_job_leaves_nothing() -> None:
    gone = {"submissions": [submission(delete="promised", status="gone")], "listed": {BASELINE: None}, "tries": []}
    clean = {"stored_ids": frozenset({BASELINE})}
    assert rules(with_job(JobEvidence(JOB, None), **gone, **clean)) == set()
    left = JobEvidence(JOB, None, keys=(f"jobs/{JOB}/manifest.json",))
    assert rules(with_job(left, **gone)) == {"deleted"}
    assert rules(with_job(found(), **gone)) == {"deleted"}


def test_a_deleted_job_that_returns_after_a_wipe_is_a_violation() -> None:
    jobs = {JOB: JobEvidence(JOB, None), BASELINE: found(BASELINE)}
    back = {JOB: found(status="running"), BASELINE: found(BASELINE)}
    gone = [submission(delete="promised", status="gone")]
    judged = rules(evidence(jobs=jobs, after_wipe=back, submissions=gone, listed={BASELINE: None}, tries=[]))
    assert judged == {"last wipe"}


def test_two_jobs_of_one_request_are_a_violation() -> None:
    jobs = {JOB: found(), "job_b": found("job_b"), BASELINE: found(BASELINE)}
    assert "doubled" in rules(evidence(jobs=jobs, listed={JOB: 0, "job_b": 0, BASELINE: None}))


def test_objects_of_unknown_jobs_are_a_violation() -> None:
    assert rules(evidence(stored_ids=frozenset({JOB, BASELINE, "job_gone"}))) == {"orphan"}
    assert rules(evidence(orphans=["jobs/job_gone/video.mp4"])) == {"orphan"}


def test_an_ended_job_that_changed_is_a_violation() -> None:
    other = replace(found(BASELINE), videos={"preview": "another"})
    assert rules(evidence(jobs={JOB: found(), BASELINE: other})) == {"ended job"}


def test_chunks_with_a_gap_are_a_violation() -> None:
    job = replace(found(), answer={**answer(JOB), "chunks": [chunk(0), chunk(2)]})
    assert "chunks" in rules(with_job(job))


def test_bytes_that_differ_from_the_baseline_run_are_a_violation() -> None:
    assert rules(with_job(replace(found(), chunks=("sha-0", "other")))) == {"bytes"}
    assert rules(with_job(replace(found(), videos={"preview": "other"}))) == {"bytes"}


def test_a_chunk_damaged_at_the_end_excuses_only_its_own_object() -> None:
    job = replace(found(), chunks=("sha-0", "other"))
    late = thrown(damaged=f"jobs/{JOB}/chunks/00001.mp4", wall=AFTER)
    assert rules(with_job(job, thrown=[late])) == set()
    assert rules(with_job(job, thrown=[replace(late, wall=0.0)])) == {"bytes"}
    assert rules(with_job(replace(job, videos={"preview": "other"}), thrown=[late])) == {"bytes"}


def test_a_succeeded_job_with_too_few_chunks_is_a_violation() -> None:
    assert "chunks" in rules(with_job(found(chunks=1)))


def test_events_lost_doubled_or_out_of_order_are_a_violation() -> None:
    first, started, chunk_0, chunk_1, last = events()
    for wrong in (
        (first, started, chunk_0, last),
        (first, started, chunk_0, chunk_0, chunk_1, last),
        (first, started, chunk_1, chunk_0, last),
        (first, started, chunk_0, chunk_1),
        (first, started, chunk_0, chunk_1, last, replace(last, id="9-0")),
    ):
        assert rules(with_job(replace(found(), events=wrong))) == {"events"}


def test_a_stale_manifest_is_a_violation() -> None:
    assert rules(with_job(replace(found(), manifest=manifest(JOB, "running")))) == {"manifest"}
    assert rules(with_job(replace(found(), manifest=None))) == {"manifest"}
    behind = {**manifest(JOB), "chunks": [chunk(0)]}
    assert rules(with_job(replace(found(), manifest=behind))) == {"manifest"}


def test_an_end_without_a_webhook_or_with_two_ids_is_a_violation() -> None:
    assert rules(evidence(tries=[])) == {"webhook"}
    assert rules(evidence(tries=[delivered(answered=503)])) == {"webhook"}
    assert rules(evidence(tries=[delivered(), delivered()])) == set()
    assert rules(evidence(tries=[delivered(), delivered("msg_2")])) == {"webhook"}


def test_more_repeated_work_than_the_faults_explain_is_a_violation() -> None:
    job = replace(found(), manifest=manifest(JOB, lanes={"generate": {"token": 1_000_005, "attempts": 0}}))
    many = with_job(job, thrown=[thrown(), thrown(skipped="nothing to hit")])
    assert (pieces_repeated(many), pieces_at_risk(many)) == (3, 1)
    assert rules(many) == {"repeated work"}
    assert rules(with_job(job, thrown=[thrown(costs_every_worker=True), thrown()])) == set()


def test_a_piece_committed_twice_is_a_violation_unless_redis_lost_it_or_it_was_damaged() -> None:
    twice = {(JOB, "chunk 1"): 2, (JOB, "chunk 0"): 1}
    assert rules(evidence(logged_commits=twice)) == {"doubled"}
    assert rules(evidence(logged_commits=twice, thrown=[thrown(name=RedisWiped.name)])) == set()
    damaged = thrown(damaged=f"jobs/{JOB}/state/generate/00001.safetensors")
    assert rules(evidence(logged_commits=twice, thrown=[damaged])) == set()


def test_commits_are_counted_in_the_logs_of_workers(tmp_path: Path) -> None:
    line = "2026-01-01 00:00:00,000 INFO worker.lanes.generate: job_a: chunk 1 of 16 frames committed\n"
    (tmp_path / "worker-0.log").write_text(line + line.replace("chunk 1 of 16 frames", "refinement 2/5"))
    (tmp_path / "worker-1.log").write_text(line + "INFO job_a: 1 is dropped\n")
    assert logged_commits(tmp_path) == {("job_a", "chunk 1"): 2, ("job_a", "refinement 2"): 1}


def test_idle_workers_and_processes_that_die_or_stay_are_violations() -> None:
    assert rules(evidence(idle_workers=["worker-1"])) == {"idle worker"}
    assert rules(evidence(ended_by_themselves=["the api ended"])) == {"process"}
    assert rules(evidence(left_processes=["python -m worker.process"])) == {"process"}


def test_timeouts_and_5xx_without_retry_after_are_violations() -> None:
    def call(status: int | None, **more: Any) -> list[Call]:
        return [Call(0.0, "GET", "GET /jobs/{id}", status, 0.1, **more)]

    assert rules(evidence(calls=call(500))) == {"api"}
    assert rules(evidence(calls=call(503))) == {"api"}
    assert rules(evidence(calls=call(503, retry_after="1"))) == set()
    assert rules(evidence(calls=call(None, error="ReadTimeout"))) == {"api"}
    assert rules(evidence(calls=call(None, error="ConnectError"))) == set()
