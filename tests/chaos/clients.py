"""The clients of a chaos run: they submit jobs, watch them, cancel and delete some, and note every answer.

They know the service by HTTP only. invariants.py checks that every promise in these answers was kept.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from tests.chaos.schedule import PlannedJob
from tests.chaos.world import MODEL

ANSWER_SECONDS = 5.0
"""No answer for so long counts as none. The promise is 2 s; a machine that others use needs more."""
POLL_SECONDS = 0.5
INTENT_SECONDS = 60.0
"""How long a client goes on asking for a cancel or a deletion that was not answered."""
COMMIT_SECONDS = 60.0
NUMBER_KEY = "chaos"
"""Key in a job's metadata under which it carries its number."""
TERMINAL = frozenset({"succeeded", "failed", "canceled", "expired"})

Intent = Literal["none", "tried", "promised"]


@dataclass(frozen=True)
class Call:
    """One request and its answer. `status` is None where none came; `error` then says what came instead."""

    at: float
    method: str
    route: str
    status: int | None
    seconds: float
    error: str = ""
    body: str = ""
    retry_after: str | None = None


@dataclass
class Submission:
    """A planned job and what became of it, as far as its client was told. `accepted_at` is wall-clock time."""

    planned: PlannedJob
    job_id: str | None = None
    accepted_at: float | None = None
    status: str | None = None
    cancel: Intent = "none"
    delete: Intent = "none"
    refused: list[str] = field(default_factory=lambda: [])
    """What tries that were not accepted were told."""

    @property
    def open(self) -> bool:
        """Accepted, and not seen to have ended."""
        return self.job_id is not None and self.status not in TERMINAL and self.status != "gone"


class Caller:
    """HTTP with a log of every call. `now`: seconds since the chaos began."""

    def __init__(self, base_url: str, now: Callable[[], float]) -> None:
        self._http = httpx.Client(base_url=base_url, trust_env=False, timeout=ANSWER_SECONDS)
        self._now = now
        self.calls: list[Call] = []

    def close(self) -> None:
        self._http.close()

    def ask(self, method: str, path: str, route: str, body: Any = None) -> httpx.Response | None:
        """The answer, or None where the connection failed or nothing came in time."""
        at, started = self._now(), time.monotonic()
        try:
            answer = self._http.request(method, path, json=body)
        except httpx.TransportError as error:
            self._note(Call(at, method, route, None, time.monotonic() - started, type(error).__name__))
            return None
        told = answer.text[:500] if answer.status_code >= 500 else ""
        seconds, retry_after = time.monotonic() - started, answer.headers.get("retry-after")
        self._note(Call(at, method, route, answer.status_code, seconds, body=told, retry_after=retry_after))
        return answer

    def stream(self, path: str) -> AbstractContextManager[httpx.Response]:
        """The answer as a stream of lines, for server-sent events."""
        return self._http.stream("GET", path)

    def _note(self, call: Call) -> None:
        self.calls.append(call)


class Clients:
    """Threads that act for all clients. Use as a context manager."""

    def __init__(self, caller: Caller, webhook_url: str, now: Callable[[], float]) -> None:
        self._caller = caller
        self._webhook_url = webhook_url
        self._now = now
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(16, "client")
        self._errors: list[Future[None]] = []
        self.submissions: list[Submission] = []

    def __enter__(self) -> Clients:
        self._run(self._poll_all)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def check(self) -> None:
        """Raise what a thread has raised: a fault of the harness."""
        for done in [future for future in self._errors if future.done() and not future.cancelled()]:
            done.result()

    def play(self, jobs: Sequence[PlannedJob]) -> None:
        """Begin to submit these jobs, each at its time."""
        self._run(lambda: self._submit_all(jobs))

    def open_jobs(self) -> list[str]:
        return [str(submission.job_id) for submission in list(self.submissions) if submission.open]

    def counts(self) -> dict[str, int]:
        """For the progress line."""
        known = list(self.submissions)
        accepted = [submission for submission in known if submission.job_id is not None]
        ended = [submission for submission in accepted if not submission.open]
        return {"submitted": len(known), "accepted": len(accepted), "ended": len(ended)}

    def _run(self, action: Callable[[], None]) -> None:
        self._errors.append(self._pool.submit(action))

    def _submit_all(self, jobs: Sequence[PlannedJob]) -> None:
        for job in jobs:
            if self._stop.wait(max(0.0, job.at - self._now())):
                return
            submission = Submission(job)
            self.submissions.append(submission)
            self._submit(submission)
            if submission.job_id is not None and job.fate != "to its end":
                self._run(lambda submission=submission: self._meet_fate(submission))

    def _submit(self, submission: Submission) -> None:
        """Once: a client that got no answer does not know whether the job exists."""
        job = submission.planned
        told = {"webhook_url": self._webhook_url, "webhook_events": list(job.webhook_events)}
        metadata = {"metadata": {NUMBER_KEY: str(job.number)}}
        request = {"model": MODEL, **job.kind.request(job.seed), **metadata, **(told if job.webhook_events else {})}
        answer = self._caller.ask("POST", "/jobs", "POST /jobs", request)
        if answer is not None and answer.status_code == 202:
            submission.accepted_at = time.time()
            submission.job_id = answer.json()["id"]
        else:
            submission.refused.append("no answer" if answer is None else str(answer.status_code))

    # --- what becomes of some ----------------------------------------------------------------------------------------

    def _meet_fate(self, submission: Submission) -> None:
        job = submission.planned
        if job.fate == "delete at a commit":
            self._wait_for_commit(submission)
        elif job.fate == "delete once ended":
            self._wait(lambda: not submission.open, INTENT_SECONDS * 10)
        else:
            self._stop.wait(job.fate_seconds)
        if not self._stop.is_set():
            (self._cancel if job.fate == "cancel" else self._delete)(submission)

    def _cancel(self, submission: Submission) -> None:
        def ask() -> bool:
            answer = self._caller.ask("POST", f"/jobs/{submission.job_id}/cancel", "POST /jobs/{id}/cancel")
            if answer is None or answer.status_code not in {202, 409}:
                submission.cancel = "tried"
                return False
            if answer.status_code == 202:
                submission.cancel = "promised"
            return True

        self._wait(ask, INTENT_SECONDS)

    def _delete(self, submission: Submission) -> None:
        def ask() -> bool:
            answer = self._caller.ask("DELETE", f"/jobs/{submission.job_id}", "DELETE /jobs/{id}")
            if answer is None or answer.status_code not in {202, 204, 404}:
                submission.delete = "tried"
                return False
            if answer.status_code == 404:  # a try whose answer was lost, or a job that is not known for a moment
                return submission.delete == "tried"
            submission.delete, submission.status = "promised", "gone"
            return True

        self._wait(ask, INTENT_SECONDS)

    def _wait_for_commit(self, submission: Submission) -> None:
        """Until an event tells of the commit of chunk `fate_chunk`. A stream that breaks is opened again."""
        wanted = submission.planned.fate_chunk + 1

        def follow() -> bool:
            with suppress(httpx.TransportError), self._caller.stream(f"/jobs/{submission.job_id}/events") as answer:
                seen = 0
                for line in answer.iter_lines():
                    seen += line == "event: chunk.completed"
                    if seen >= wanted or self._stop.is_set():
                        return True
            return not submission.open

        self._wait(follow, COMMIT_SECONDS)

    def _wait(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < deadline and not done():
            self._stop.wait(POLL_SECONDS)

    # --- watching ----------------------------------------------------------------------------------------------------

    def _poll_all(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            for submission in [each for each in list(self.submissions) if each.open]:
                self._look_at(submission)
                if self._stop.is_set():
                    return

    def _look_at(self, submission: Submission) -> None:
        answer = self._caller.ask("GET", f"/jobs/{submission.job_id}", "GET /jobs/{id}")
        if answer is None:
            return
        if answer.status_code == 200 and submission.status != "gone":
            submission.status = str(answer.json()["status"])
        elif answer.status_code == 404 and submission.delete == "tried":
            submission.status = "gone"
