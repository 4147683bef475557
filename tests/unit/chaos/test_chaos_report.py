"""Recovery times: from a fault's end to the next commit of the affected job, or of any waiting job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.chaos.evidence import Evidence, InjectedFault, JobEvidence
from tests.chaos.report import Recovery, as_json, recoveries

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def text(seconds: float) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat()


def job(job_id: str, *commits: float) -> JobEvidence:
    """Created at 0, ended with its last commit."""
    chunks: list[dict[str, Any]] = [{"created_at": text(at)} for at in commits]
    answer = {
        "id": job_id,
        "status": "succeeded",
        "created_at": text(0),
        "finished_at": text(commits[-1]),
        "chunks": chunks,
    }
    return JobEvidence(job_id, answer, manifest={"chunks": chunks, "refined": []})


def thrown(name: str, lifted_at: float, job_id: str | None = None, skipped: str | None = None) -> InjectedFault:
    wall = (BEGIN + timedelta(seconds=lifted_at)).timestamp()
    return InjectedFault(name, 0.0, lifted_at, wall, "", job_id=job_id, skipped=skipped)


def evidence(*faults: InjectedFault) -> Evidence:
    jobs = {"job_a": job("job_a", 1, 5, 9), "job_b": job("job_b", 2, 4)}
    return Evidence(
        num_workers=1,
        submissions=[],
        baseline={},
        jobs=jobs,
        after_wipe=jobs,
        listed={},
        stored_ids=frozenset(),
        tries=[],
        thrown=faults,
        calls=[],
    )


def test_recovery_is_the_next_commit_of_any_job_that_waits() -> None:
    (row,) = recoveries(evidence(thrown("Redis killed", 3.0)))
    assert row == Recovery("Redis killed", 1, 0, (1.0,))


def test_recovery_of_a_killed_worker_is_the_next_commit_of_its_job() -> None:
    (row,) = recoveries(evidence(thrown("worker killed", 3.0, "job_a")))
    assert row.seconds == (2.0,)


def test_a_fault_after_which_nothing_waited_has_no_time_and_one_left_out_is_counted_apart() -> None:
    (row,) = recoveries(evidence(thrown("S3 slow", 20.0), thrown("S3 slow", 1.0, skipped="nothing to hit")))
    assert (row.thrown, row.skipped, row.median, row.p90, row.longest) == (1, 1, None, None, None)


def test_median_p90_and_longest_are_of_one_kind_of_fault() -> None:
    times = [float(second) for second in range(1, 11)]
    row = Recovery("any", 10, 0, tuple(times))
    assert (row.median, row.p90, row.longest) == (5.5, 9.0, 10.0)


def test_the_result_file_holds_what_is_needed_to_repeat_the_run() -> None:
    content = as_json(evidence(thrown("Redis killed", 3.0)), [], {"seed": 7, "seconds": 60})
    assert content["run"] == {"seed": 7, "seconds": 60}
    assert {"date", "commit", "machine", "jobs", "api", "work", "faults", "thrown", "violations"} <= set(content)
    assert content["thrown"][0]["name"] == "Redis killed"
    assert content["faults"][0]["median"] == 1.0
