"""What must hold after any chaos, each rule a pure function from evidence to violations. Reads and starts nothing."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.chaos.clients import ANSWER_SECONDS, TERMINAL, Call, Submission
from tests.chaos.evidence import Event, Evidence, InjectedFault, JobEvidence
from tests.chaos.faults.redis import RedisWiped

WIPE = RedisWiped.name
TOKENS_PER_RESTORE = 1_000_000
"""A record rebuilt from its manifest goes on with tokens so much higher."""
MADE_EVENTS = {"chunk.completed": "chunks", "chunk.refined": "refined"}
MANIFEST_FIELDS = ("id", "status", "version", "error", "created_at", "started_at", "finished_at", "cancel_requested")
PROGRESS_FIELDS = ("chunks_done", "chunks_total", "chunks_refined", "step", "refine_step", "queue_position")
CHUNK_FIELDS = ("index", "first_frame", "num_frames", "size_bytes", "sha256")


@dataclass(frozen=True)
class Violation:
    """Something that must not be."""

    rule: str
    text: str
    job_id: str | None = None


def judge(evidence: Evidence) -> list[Violation]:
    """All violations of all rules."""
    return [violation for rule in RULES for violation in rule(evidence)]


# --- jobs ------------------------------------------------------------------------------------------------------------


def nothing_is_lost(evidence: Evidence) -> Iterator[Violation]:
    """Every job answered with 202 is known until it is deleted."""
    for submission, found in _accepted(evidence):
        if found.answer is None and submission.delete == "none":
            yield Violation("lost", f"{_told(submission)}: accepted and unknown now", found.job_id)


def every_job_ends(evidence: Evidence) -> Iterator[Violation]:
    for found in evidence.jobs.values():
        if found.status is not None and found.status not in TERMINAL:
            progress: Mapping[str, Any] = found.answer["progress"] if found.answer else {}
            told = [f"{name} {progress.get(name)}" for name in PROGRESS_FIELDS]
            yield Violation("not ended", f"still {found.status}: {', '.join(told)}", found.job_id)


def jobs_end_as_promised(evidence: Evidence) -> Iterator[Violation]:
    """Succeeded, unless its client cancelled it; never failed."""
    for submission, found in _known(evidence):
        allowed = {"none": {"succeeded"}, "tried": {"succeeded", "canceled"}, "promised": {"canceled"}}
        ended = found.status in TERMINAL
        if ended and found.status not in allowed[submission.cancel] and submission.delete == "none":
            error = found.answer["error"] if found.answer else None
            yield Violation("status", f"{_told(submission)}: {found.status}, error {error}", found.job_id)


def deleted_jobs_are_gone(evidence: Evidence) -> Iterator[Violation]:
    for submission, found in _accepted(evidence):
        if submission.delete == "promised" and found.answer is not None:
            yield Violation("deleted", f"{_told(submission)}: deleted and still {found.status}", found.job_id)
        if submission.delete != "none" and found.answer is None and found.keys:
            yield Violation("deleted", f"{_told(submission)}: objects left: {', '.join(found.keys)}", found.job_id)


def nobody_made_up_a_job(evidence: Evidence) -> Iterator[Violation]:
    """Each job listed was asked for, and each request made one job at most."""
    numbers = Counter(number for number in evidence.listed.values() if number is not None)
    for number, count in numbers.items():
        if count > 1:
            yield Violation("doubled", f"request {number} made {count} jobs")


def objects_belong_to_jobs(evidence: Evidence) -> Iterator[Violation]:
    ours = {submission.job_id for submission in evidence.submissions}
    for job_id in sorted(evidence.stored_ids - set(evidence.listed) - ours):
        yield Violation("orphan", "objects of a job that nobody knows", job_id)
    for line in evidence.orphans or ():
        yield Violation("orphan", f"gc --dry-run: {line}")


def a_last_wipe_changes_nothing(evidence: Evidence) -> Iterator[Violation]:
    """After the end Redis is wiped once more: what is rebuilt from the bucket is what was there."""
    for job_id, after in evidence.after_wipe.items():
        before = evidence.jobs[job_id]
        if (before.answer is None) != (after.answer is None):
            text = "unknown before, back after" if before.answer is None else "known before, unknown after"
            yield Violation("last wipe", f"{text} a wipe ({before.status} -> {after.status})", job_id)
        elif _lasting(before) != _lasting(after):
            yield Violation("last wipe", f"{before.status} -> {after.status}, or its chunks are others", job_id)


def ended_jobs_stay_as_they_were(evidence: Evidence) -> Iterator[Violation]:
    """The jobs of the baseline run ended before the first fault."""
    for baseline in evidence.baseline.values():
        now = evidence.jobs[baseline.job_id]
        if _lasting(now) != _lasting(baseline):
            yield Violation(
                "ended job", f"{baseline.status} before the chaos, {now.status} or other bytes now", baseline.job_id
            )


def _lasting(found: JobEvidence) -> tuple[Any, ...]:
    return (found.status, found.chunks, found.refined, found.videos)


# --- bytes -----------------------------------------------------------------------------------------------------------


def chunks_are_contiguous(evidence: Evidence) -> Iterator[Violation]:
    for found in _existing(evidence):
        chunks = found.answer["chunks"] if found.answer else []
        indices = [chunk["index"] for chunk in chunks]
        starts = [0, *itertools.accumulate(chunk["num_frames"] for chunk in chunks)]
        if indices != list(range(len(chunks))) or [chunk["first_frame"] for chunk in chunks] != starts[:-1]:
            yield Violation("chunks", f"indices {indices}", found.job_id)


def videos_equal_their_calm_run(evidence: Evidence) -> Iterator[Violation]:
    """Byte by byte: chunks, refined chunks and final videos. Of a cancelled job: a prefix of the baseline."""
    for submission, found in _known(evidence):
        baseline = evidence.baseline[submission.planned.kind.name, submission.planned.seed]
        excused = _damaged_too_late(evidence, found)
        for what, ours, theirs in _pairs(found, baseline):
            pairs = enumerate(zip(ours, theirs, strict=False))
            wrong = [index for index, pair in pairs if len(set(pair)) > 1 and (what, index) not in excused]
            if wrong or len(ours) > len(theirs):
                yield Violation(
                    "bytes", f"{_told(submission)}: {what} {wrong} differ from the baseline run", found.job_id
                )
        if found.status == "succeeded" and found.videos != baseline.videos:
            variants = [name for name in baseline.videos if found.videos.get(name) != baseline.videos[name]]
            yield Violation("bytes", f"{_told(submission)}: video ({', '.join(variants)}) differs", found.job_id)


def _damaged_too_late(evidence: Evidence, found: JobEvidence) -> set[tuple[str, int]]:
    """Chunks that a fault damaged when nothing was left to be made: nobody had to read them any more."""
    made = [chunk["created_at"] for of in ("chunks", "refined") for chunk in (found.manifest or {}).get(of, ())]
    made_at = max((datetime.fromisoformat(at).timestamp() for at in made), default=0.0)
    late = [each.damaged.split("/") for each in evidence.thrown if each.damaged and each.wall >= made_at]
    kinds = {"chunks": "chunk objects", "refined": "refined chunk objects"}
    of_job = [key for key in late if key[1] == found.job_id and key[2] in kinds]
    return {(kinds[key[2]], int(key[3].removesuffix(".mp4"))) for key in of_job}


def _pairs(found: JobEvidence, baseline: JobEvidence) -> Iterator[tuple[str, Sequence[str], Sequence[str]]]:
    """What is compared: the digests in the record, and those of the objects."""
    yield "recorded chunks", _recorded(found), _recorded(baseline)
    yield "chunk objects", found.chunks, baseline.chunks
    yield "refined chunk objects", found.refined, baseline.refined


def _recorded(found: JobEvidence) -> list[str]:
    return [chunk["sha256"] for chunk in (found.answer or {"chunks": []})["chunks"]]


def succeeded_jobs_are_complete(evidence: Evidence) -> Iterator[Violation]:
    for submission, found in _known(evidence):
        baseline = evidence.baseline[submission.planned.kind.name, submission.planned.seed]
        if found.status == "succeeded" and (len(found.chunks), len(found.refined)) != (
            len(baseline.chunks),
            len(baseline.refined),
        ):
            text = f"{_told(submission)}: {len(found.chunks)} chunks and {len(found.refined)} refined"
            yield Violation("chunks", text, found.job_id)


# --- events, manifests, webhooks -------------------------------------------------------------------------------------


def events_tell_all_once_and_in_order(evidence: Evidence) -> Iterator[Violation]:
    for found in _existing(evidence):
        if found.status in TERMINAL:
            for text in _wrong_with(found.events, found):
                yield Violation("events", text, found.job_id)


def _wrong_with(events: Sequence[Event], found: JobEvidence) -> Iterator[str]:
    types = [event.type for event in events]
    if types[:1] != ["job.queued"] or types[-1:] != [f"job.{found.status}"]:
        yield f"begins with {types[:1]} and ends with {types[-1:]}"
    if any(types.count(once) > 1 for once in types if once.startswith("job.")):
        yield f"told twice: {Counter(types)}"
    ids = [tuple(map(int, event.id.split("-"))) for event in events]
    if ids != sorted(set(ids)):
        yield "ids do not rise"
    versions = [event.data.get("version", number) for number, event in enumerate(events) if event.type in MADE_EVENTS]
    if versions != sorted(set(versions)):
        yield f"versions do not rise: {versions}"
    for type_, made in MADE_EVENTS.items():
        indices = [event.data["chunk"]["index"] for event in events if event.type == type_]
        if indices != list(range(len(getattr(found, made)))):
            yield f"{type_} of {indices}, there are {len(getattr(found, made))}"


def records_equal_manifests(evidence: Evidence) -> Iterator[Violation]:
    for found in _existing(evidence):
        if found.manifest is None:
            yield Violation("manifest", f"{found.status} and without a manifest", found.job_id)
        elif different := _differences(found.answer or {}, found.manifest):
            yield Violation("manifest", f"differs in {different}", found.job_id)


def _differences(answer: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    both = [name for name in MANIFEST_FIELDS if name in answer and name in manifest]
    different = [name for name in both if answer[name] != manifest[name]]
    if answer["request"] != {name: manifest["spec"].get(name) for name in answer["request"]}:
        different.append("spec")
    ours, theirs = (
        [{name: chunk[name] for name in CHUNK_FIELDS} for chunk in side["chunks"]] for side in (answer, manifest)
    )
    if ours != theirs:
        different.append("chunks")
    refined = [chunk for chunk in answer["chunks"] if chunk["refined_url"]]
    return different if len(refined) == len(manifest["refined"]) else [*different, "refined"]


def ends_are_told_by_webhook(evidence: Evidence) -> Iterator[Violation]:
    """At least once, always under the same id; of a deleted job maybe never."""
    told = _webhook_ids(evidence)
    for (job_id, event), ids in told.items():
        if event.startswith("job.") and len(ids) > 1:
            yield Violation("webhook", f"{event} came under {len(ids)} ids: {sorted(ids)}", job_id)
    for submission, found in _known(evidence):
        event = f"job.{found.status}"
        wanted = event in submission.planned.webhook_events and submission.delete == "none"
        if wanted and found.status in TERMINAL and (found.job_id, event) not in told:
            yield Violation("webhook", f"{_told(submission)}: {event} was never delivered", found.job_id)


def _webhook_ids(evidence: Evidence) -> dict[tuple[str, str], set[str]]:
    """Ids under which each event of each job was delivered."""
    told: dict[tuple[str, str], set[str]] = defaultdict(set)
    for attempt in evidence.tries:
        if attempt.answered < 300:
            headers = {name.lower(): value for name, value in attempt.headers.items()}
            told[attempt.payload["data"]["id"], attempt.payload["type"]].add(headers["webhook-id"])
    return told


# --- work and processes ----------------------------------------------------------------------------------------------


def little_work_is_repeated(evidence: Evidence) -> Iterator[Violation]:
    """Pieces begun and not committed: at most one for each worker that a fault hit."""
    repeated, allowed = pieces_repeated(evidence), pieces_at_risk(evidence)
    if repeated is not None and repeated > allowed:
        yield Violation("repeated work", f"{repeated} pieces were begun in vain, the faults explain {allowed}")


def pieces_repeated(evidence: Evidence) -> int | None:
    """Claims of succeeded jobs (their lanes' fencing tokens) less their commits; None where manifests do not say."""
    ended = [found for _, found in _known(evidence) if found.status == "succeeded"]
    telling = [found for found in ended if found.manifest and "lanes" in found.manifest]
    if ended and not telling:
        return None
    return sum(max(0, _begun(found) - _committed(found)) for found in telling)


def _begun(found: JobEvidence) -> int:
    lanes: Mapping[str, Mapping[str, int]] = (found.manifest or {})["lanes"]
    made = (state for lane, state in lanes.items() if lane in {"generate", "refine"})
    return sum(state["token"] % TOKENS_PER_RESTORE for state in made)


def _committed(found: JobEvidence) -> int:
    return len(found.chunks) + int((found.manifest or {}).get("refine_done", 0))


def pieces_at_risk(evidence: Evidence) -> int:
    """What the faults thrown may have cost at most."""
    longest = max((_committed(found) for found in evidence.baseline.values()), default=0)
    return sum(_risk(thrown, evidence.num_workers, longest) for thrown in evidence.thrown)


def _risk(thrown: InjectedFault, num_workers: int, longest: int) -> int:
    if thrown.skipped is not None:
        return 0
    if thrown.damaged is not None:
        return longest
    return num_workers if thrown.costs_every_worker else 1


def nothing_is_committed_twice(evidence: Evidence) -> Iterator[Violation]:
    """By the workers' own words. A wiped Redis may forget what each worker committed last; damage is made again."""
    damaged = {thrown.damaged.split("/")[1] for thrown in evidence.thrown if thrown.damaged}
    more = [piece for piece, count in evidence.logged_commits.items() if count > 1]
    twice = [f"{job_id} {piece}" for job_id, piece in more if job_id not in damaged]
    wipes = sum(thrown.name == WIPE and thrown.skipped is None for thrown in evidence.thrown)
    if len(twice) > wipes * evidence.num_workers:
        yield Violation("doubled", f"committed more than once, with {wipes} wipes: {', '.join(twice)}")


def workers_work_again(evidence: Evidence) -> Iterator[Violation]:
    for worker in evidence.idle_workers:
        yield Violation("idle worker", f"{worker} took nothing in the roll call")


def processes_stay_and_go_when_told(evidence: Evidence) -> Iterator[Violation]:
    for said in evidence.ended_by_themselves:
        yield Violation("process", f"ended by itself: {said}")
    for command in evidence.left_processes:
        yield Violation("process", f"still there after SIGTERM: {command}")


def answers_are_never_a_fault_of_ours(evidence: Evidence) -> Iterator[Violation]:
    """503 with Retry-After while a server is away; no other 5xx, no request without an answer."""
    wrong: dict[str, list[Call]] = defaultdict(list)
    for call in evidence.calls:
        for text in _wrong_with_call(call):
            wrong[text].append(call)
    for text, calls in sorted(wrong.items()):
        seconds = ", ".join(f"{call.at:.1f}" for call in calls[:5])
        yield Violation("api", f"{text}: {len(calls)} times (at {seconds} s) {calls[0].body[:200]}")


def _wrong_with_call(call: Call) -> Iterator[str]:
    if call.status is not None and call.status >= 500 and call.status != 503:
        yield f"{call.route} answered {call.status}"
    if call.status == 503 and call.retry_after is None:
        yield f"{call.route} answered 503 without Retry-After"
    if call.status is None and call.error == "ReadTimeout":
        yield f"{call.route} did not answer within {ANSWER_SECONDS:g} s"


RULES: tuple[Callable[[Evidence], Iterable[Violation]], ...] = (
    nothing_is_lost,
    every_job_ends,
    jobs_end_as_promised,
    deleted_jobs_are_gone,
    nobody_made_up_a_job,
    objects_belong_to_jobs,
    a_last_wipe_changes_nothing,
    ended_jobs_stay_as_they_were,
    chunks_are_contiguous,
    videos_equal_their_calm_run,
    succeeded_jobs_are_complete,
    events_tell_all_once_and_in_order,
    records_equal_manifests,
    ends_are_told_by_webhook,
    little_work_is_repeated,
    nothing_is_committed_twice,
    workers_work_again,
    processes_stay_and_go_when_told,
    answers_are_never_a_fault_of_ours,
)


# --- who is who ------------------------------------------------------------------------------------------------------


def _accepted(evidence: Evidence) -> Iterator[tuple[Submission, JobEvidence]]:
    """Jobs whose client got its 202."""
    for submission in evidence.submissions:
        if submission.job_id is not None:
            yield submission, evidence.jobs[submission.job_id]


def _known(evidence: Evidence) -> Iterator[tuple[Submission, JobEvidence]]:
    """Jobs that exist, those of clients that got no answer included."""
    by_number = {submission.planned.number: submission for submission in evidence.submissions}
    for job_id, number in evidence.listed.items():
        if number in by_number and job_id in evidence.jobs and evidence.jobs[job_id].answer is not None:
            yield by_number[number], evidence.jobs[job_id]


def _existing(evidence: Evidence) -> Iterator[JobEvidence]:
    return (found for found in evidence.jobs.values() if found.answer is not None)


def _told(submission: Submission) -> str:
    planned = submission.planned
    intents = f"cancel {submission.cancel}, delete {submission.delete}"
    what = f"{planned.kind.name}, seed {planned.seed}, of {planned.at:.0f} s, fate {planned.fate}"
    return f"job {planned.number} ({what}; {intents})"
