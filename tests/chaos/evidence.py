"""Collects the results of a run, by HTTP and from the bucket, when it has settled. Checks no rule.

JSON stays JSON here: a field that is new to this harness is none of its business.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from core.service.domain.manifest import manifest_key
from core.service.records.stored_jobs import read_job
from core.service.s3.storage import S3Storage
from tests.chaos.clients import NUMBER_KEY, TERMINAL, Call, Submission
from tests.helpers.deadline import eventually
from tests.helpers.webhook_receiver import Attempt

READERS = 4
STREAM_SECONDS = 10.0
PAGE = 100


@dataclass(frozen=True)
class Event:
    """One entry of a job's event log as a client reads it."""

    id: str
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class JobEvidence:
    """All that can be read of one job. `answer` is None where it is unknown (404)."""

    job_id: str
    answer: Mapping[str, Any] | None
    events: tuple[Event, ...] = ()
    """Its whole log; nothing of a job that has not ended."""
    manifest: Mapping[str, Any] | None = None
    """The record in the job's manifest."""
    keys: tuple[str, ...] = ()
    """Its objects."""
    chunks: tuple[str, ...] = ()
    """SHA-256 of each chunk's object, as its URL gives it."""
    refined: tuple[str, ...] = ()
    videos: Mapping[str, str] = field(default_factory=lambda: {})
    """SHA-256 of the final video of each variant that there is."""

    @property
    def status(self) -> str | None:
        return None if self.answer is None else str(self.answer["status"])


@dataclass(frozen=True)
class InjectedFault:
    """A fault as it came about. Times are seconds since the chaos began; `wall` is time.time() of the lift."""

    name: str
    at: float
    lifted_at: float
    wall: float
    text: str
    job_id: str | None = None
    damaged: str | None = None
    costs_every_worker: bool = True
    skipped: str | None = None
    """Why it was left out; None where it was not."""


@dataclass(frozen=True)
class Evidence:
    """Everything that invariants.py looks at."""

    num_workers: int
    submissions: Sequence[Submission]
    jobs: Mapping[str, JobEvidence]
    after_wipe: Mapping[str, JobEvidence]
    """The same once more, after a last FLUSHALL and the rebuilding that follows."""
    listed: Mapping[str, int | None]
    """Number in the metadata, of every job that GET /jobs lists."""
    stored_ids: frozenset[str]
    """Ids of jobs with objects in the bucket."""
    thrown: Sequence[InjectedFault]
    baseline: Mapping[tuple[str, int], JobEvidence] = field(default_factory=lambda: {})
    """By kind and seed: the same request made without faults."""
    calls: Sequence[Call] = ()
    tries: Sequence[Attempt] = ()
    """Of webhooks."""
    logged_commits: Mapping[tuple[str, str], int] = field(default_factory=lambda: {})
    """How often workers say that they committed a piece of a job: by job and piece."""
    idle_workers: Sequence[str] = ()
    """Workers that took no work in the roll call."""
    left_processes: Sequence[str] = ()
    ended_by_themselves: Sequence[str] = ()
    orphans: Sequence[str] | None = ()
    """What `longtake gc --dry-run` lists; None where there is no such command."""


_COMMITTED = re.compile(r"(job_\w+): ((?:chunk|refinement) \d+).* committed$", re.MULTILINE)


def logged_commits(folder: Path) -> Counter[tuple[str, str]]:
    """Of all worker logs in a folder."""
    logs = [file.read_text(encoding="utf-8", errors="replace") for file in folder.glob("worker-*.log")]
    return Counter((job_id, piece) for log in logs for job_id, piece in _COMMITTED.findall(log))


class Reader:
    """Reads jobs from an idle service. Raises AssertionError for an answer that is impossible then."""

    def __init__(self, base_url: str, storage: S3Storage) -> None:
        self._http = httpx.Client(base_url=base_url, trust_env=False, timeout=30)
        self._storage = storage

    def close(self) -> None:
        self._http.close()

    def read_all(self, job_ids: Sequence[str]) -> dict[str, JobEvidence]:
        with ThreadPoolExecutor(READERS) as pool:
            return {found.job_id: found for found in pool.map(self.read, job_ids)}

    def read(self, job_id: str) -> JobEvidence:
        answer, keys = self.answer(job_id), tuple(self._storage.list(f"jobs/{job_id}/"))
        if answer is None:
            return JobEvidence(job_id, None, keys=keys)
        chunks: list[dict[str, Any]] = answer["chunks"]
        return JobEvidence(
            job_id,
            answer,
            events=tuple(self._events(job_id)) if answer["status"] in TERMINAL else (),
            manifest=self._manifest(job_id, keys),
            keys=keys,
            chunks=tuple(self._digest(chunk["url"]) for chunk in chunks),
            refined=tuple(self._digest(chunk["refined_url"]) for chunk in chunks if chunk["refined_url"]),
            videos=dict(self._videos(job_id)),
        )

    def answer(self, job_id: str) -> dict[str, Any] | None:
        """GET /jobs/{id} with its chunks; None for 404. A busy store is asked again: no fault is on any more."""
        path, query = f"/jobs/{job_id}", {"include": "chunks"}

        def ask() -> httpx.Response | None:
            answer = self._http.get(path, params=query)
            return None if answer.status_code == 503 else answer

        answer = eventually(ask, f"an answer about {job_id}")
        if answer.status_code == 404:
            return None
        assert answer.status_code == 200, f"GET /jobs/{job_id}: {answer.status_code} {answer.text[:300]}"
        return answer.json()

    def listed(self) -> dict[str, int | None]:
        """Every job of GET /jobs, with the number that its client gave it."""
        found: dict[str, int | None] = {}
        query: dict[str, Any] = {"limit": PAGE}
        while True:
            page = self._http.get("/jobs", params=query).raise_for_status().json()
            for job in page["jobs"]:
                number = job["request"]["metadata"].get(NUMBER_KEY)
                found[job["id"]] = None if number is None else int(number)
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]

    def stored_ids(self) -> frozenset[str]:
        """Of the jobs that have an object in the bucket."""
        return frozenset(key.split("/")[1] for key in self._storage.list("jobs/"))

    def keys(self, job_id: str) -> list[str]:
        return list(self._storage.list(f"jobs/{job_id}/"))

    def _events(self, job_id: str) -> Iterator[Event]:
        """What has come of the log where the stream does not end in time."""
        event: dict[str, str] = {}
        try:
            with self._http.stream("GET", f"/jobs/{job_id}/events", timeout=STREAM_SECONDS) as answer:
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    event[name] = value
                    if not line and "id" in event:
                        yield Event(event["id"], event["event"], json.loads(event["data"])["data"])
                    event = event if line else {}
        except httpx.ReadTimeout:
            return

    def _manifest(self, job_id: str, keys: Sequence[str]) -> dict[str, Any] | None:
        """The record in the manifest, with its chunks in place of their totals."""
        if manifest_key(job_id) not in keys:
            return None
        record, lists = read_job(self._storage, job_id)
        chunks = {"chunks": lists.preview, "refined": lists.refined}
        shown = {name: [chunk.model_dump(mode="json") for chunk in made] for name, made in chunks.items()}
        return record.model_dump(mode="json") | shown

    def _videos(self, job_id: str) -> Iterator[tuple[str, str]]:
        for variant in ("preview", "refined"):
            answer = self._http.get(f"/jobs/{job_id}/video", params={"variant": variant}, follow_redirects=True)
            if answer.status_code == 200:
                yield variant, hashlib.sha256(answer.content).hexdigest()

    def _digest(self, url: str) -> str:
        """Of the object behind a URL; what was answered instead where it cannot be had."""
        answer = self._http.get(url, follow_redirects=True)
        return hashlib.sha256(answer.content).hexdigest() if answer.status_code == 200 else f"HTTP {answer.status_code}"
