"""One chaos run: baseline videos, then jobs and faults as scheduled, then settling, then the checks.

Processes are started by the main thread only: the kernel ends a child with the thread that started it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace

import httpx
from redis.exceptions import RedisError

from cli.main import COMMANDS
from tests.chaos.clients import TERMINAL, Caller, Clients, Submission
from tests.chaos.evidence import Evidence, InjectedFault, JobEvidence, Reader, logged_commits
from tests.chaos.faults.fault import Hit, NotApplicable
from tests.chaos.schedule import KINDS, SEEDS, Plan, PlannedFault
from tests.chaos.world import MODEL, World
from tests.helpers.deadline import DeadlinePassed, eventually
from tests.helpers.webhook_receiver import WebhookReceiver, receiving_webhooks

TICK_SECONDS = 0.05
PROGRESS_SECONDS = 5.0
GONE_SECONDS = 60.0
"""A minute after the last job's end its webhook is delivered, and the objects of deleted jobs are gone."""
ROLL_CALL_SECONDS = 40.0
REBUILD_SECONDS = 40.0
WEBHOOK_ANSWERS = ([204] * 14 + [503]) * 200
"""To tries of webhooks, in order; after these 204."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a person chooses. `settle_seconds`: how long jobs may take to end after the last fault."""

    seed: int
    seconds: float
    num_workers: int
    num_jobs: int
    settle_seconds: float


class Run:
    """One run. Use `play`."""

    def __init__(self, world: World, plan: Plan, options: Options, say: Say) -> None:
        self._world, self._plan, self._options, self._say = world, plan, options, say
        self._began = time.monotonic()
        self._thrown: list[InjectedFault] = []
        self._ended_by_themselves: list[str] = []
        self._active: dict[int, tuple[PlannedFault, InjectedFault]] = {}
        self._said_at = 0.0

    def play(self) -> Evidence:
        """All of it. Raises what goes wrong in the harness itself."""
        with ExitStack() as stack:
            receiver = stack.enter_context(receiving_webhooks(WEBHOOK_ANSWERS))
            base_url = str(self._world.service.http.base_url)
            reader, caller = Reader(base_url, self._world.storage()), Caller(base_url, self._now)
            stack.callback(reader.close)
            stack.callback(caller.close)
            baseline = self._baseline_run(reader)
            clients = stack.enter_context(Clients(caller, receiver.url, self._now))
            self._world.open_jobs = clients.open_jobs
            self._throw_everything(clients)
            self._settle(clients, reader, receiver)
            calls = list(caller.calls)
            return replace(self._aftermath(clients, reader), baseline=baseline, calls=calls, tries=list(receiver.tries))

    def _aftermath(self, clients: Clients, reader: Reader) -> Evidence:
        """What is to be seen once all is quiet; at the end the processes are told to stop."""
        idle = self._roll_call(clients)
        listed = reader.listed()
        accepted = [submission.job_id for submission in clients.submissions if submission.job_id is not None]
        self._say(f"{self._now():5.0f} s  reading what is left of {len(listed)} jobs")
        jobs = reader.read_all(list(dict.fromkeys([*listed, *accepted])))
        stored_ids, orphans = reader.stored_ids(), self._orphans()
        after_wipe = self._wipe_once_more(reader, jobs)
        left = self._world.stop_in_order()
        return Evidence(
            num_workers=self._options.num_workers,
            submissions=clients.submissions,
            jobs=jobs,
            after_wipe=after_wipe,
            listed=listed,
            stored_ids=stored_ids,
            thrown=self._thrown,
            logged_commits=logged_commits(self._world.folder),
            idle_workers=idle,
            left_processes=left,
            ended_by_themselves=self._ended_by_themselves,
            orphans=orphans,
        )

    def _now(self) -> float:
        """Seconds since the chaos began."""
        return time.monotonic() - self._began

    # --- before ------------------------------------------------------------------------------------------------------

    def _baseline_run(self, reader: Reader) -> dict[tuple[str, int], JobEvidence]:
        """Each request of the plan once, without faults."""
        started, service = time.monotonic(), self._world.service
        wanted = sorted({(job.kind.name, job.seed) for job in self._plan.jobs})
        kinds = {kind.name: kind for kind in KINDS}
        ids = {each: service.submit(model=MODEL, **kinds[each[0]].request(each[1])).id for each in wanted}
        for job_id in ids.values():
            service.wait_for_success(job_id, seconds=120)
        self._say(f"baseline run: {len(ids)} videos in {time.monotonic() - started:.0f} s")
        return {each: reader.read(job_id) for each, job_id in ids.items()}

    # --- chaos -------------------------------------------------------------------------------------------------------

    def _throw_everything(self, clients: Clients) -> None:
        """Until the plan's time is over; then all faults are lifted."""
        self._began = time.monotonic()
        clients.play(self._plan.jobs)
        try:
            for at, act in self._acts():
                self._wait_until(at, clients)
                act()
            self._wait_until(self._plan.seconds, clients)
        finally:
            for index in list(self._active):
                self._lift(index)
            self._world.calm_network()

    def _acts(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """Every inject and lift, in order of time."""
        acts: list[tuple[float, Callable[[], None]]] = []
        for index, planned in enumerate(self._plan.faults):
            acts.append((planned.at, lambda index=index, planned=planned: self._inject(index, planned)))
            acts.append((planned.lifted_at, lambda index=index: self._lift(index)))
        return iter(sorted(acts, key=lambda act: act[0]))

    def _wait_until(self, at: float, clients: Clients) -> None:
        while True:
            self._tend(clients)
            left = at - self._now()
            if left <= 0:
                return
            _pause(min(left, TICK_SECONDS))

    def _tend(self, clients: Clients) -> None:
        """What the main thread does between two acts."""
        clients.check()
        self._ended_by_themselves += self._world.tend()
        if time.monotonic() - self._said_at >= PROGRESS_SECONDS:
            self._said_at = time.monotonic()
            self._say(self._progress(clients))

    def _progress(self, clients: Clients) -> str:
        counts = clients.counts()
        now = ", ".join(planned.fault.name for planned, _ in self._active.values()) or "no fault"
        jobs = f"{counts['submitted']} submitted, {counts['accepted']} accepted, {counts['ended']} ended"
        return f"{self._now():5.0f} s  faults {len(self._thrown)}/{len(self._plan.faults)} ({now})  jobs {jobs}"

    def _inject(self, index: int, planned: PlannedFault) -> None:
        fault, at = planned.fault, self._now()
        try:
            hit, skipped = fault.inject(self._world), None
        except (NotApplicable, RedisError) as reason:
            hit, skipped = Hit(""), str(reason)
        thrown = InjectedFault(
            name=fault.name,
            at=round(at, 3),
            lifted_at=round(at, 3),
            wall=time.time(),
            text=hit.text,
            job_id=hit.job_id,
            damaged=hit.damaged,
            costs_every_worker=fault.costs_every_worker,
            skipped=skipped,
        )
        if skipped is None:
            self._active[index] = (planned, thrown)
        else:
            self._thrown.append(thrown)

    def _lift(self, index: int) -> None:
        if index not in self._active:
            return
        planned, thrown = self._active.pop(index)
        if planned.fault.seconds:
            planned.fault.lift(self._world)
            thrown = replace(thrown, lifted_at=round(self._now(), 3), wall=time.time())
        self._thrown.append(thrown)

    # --- afterwards --------------------------------------------------------------------------------------------------

    def _settle(self, clients: Clients, reader: Reader, receiver: WebhookReceiver) -> None:
        """Wait until all has ended that shall; what has not by then is for the invariants to say."""
        self._say(f"{self._now():5.0f} s  all faults lifted, waiting for jobs to end")
        self._awaited(lambda: not clients.open_jobs(), self._options.settle_seconds, clients)
        gone = [str(each.job_id) for each in clients.submissions if each.delete != "none" and each.status == "gone"]

        def told_and_gone() -> bool:
            return not _undelivered(clients.submissions, receiver) and not any(map(reader.keys, gone))

        self._awaited(told_and_gone, GONE_SECONDS, clients)

    def _awaited(self, done: Callable[[], bool], seconds: float, clients: Clients) -> bool:
        def look() -> bool:
            self._tend(clients)
            with suppress(httpx.TransportError):
                return done()
            return False

        try:
            return eventually(look, "it", seconds=seconds, pause_seconds=0.3)
        except DeadlinePassed:
            return False

    def _roll_call(self, clients: Clients) -> list[str]:
        """Every worker must take work again by itself. Those that do not; jobs go in until all have been seen busy."""
        names, seen, service = self._world.generation_names(), set[str](), self._world.service

        def all_seen() -> bool:
            busy = {status.pid for status in self._world.workers() if status.state == "busy"}
            for name in names:
                if any(process.pid in busy for process in self._world.worker_processes([name])):
                    seen.add(name)
            if (self._num_jobs("queued") or 0) < len(names):
                service.http.post("/jobs", json={"model": MODEL, **KINDS[1].request(SEEDS[0])})
            return len(seen) == len(names)

        self._awaited(all_seen, ROLL_CALL_SECONDS, clients)
        active = ("queued", "running", "canceling", "finalizing")
        self._awaited(lambda: all(self._num_jobs(status) == 0 for status in active), ROLL_CALL_SECONDS, clients)
        self._say(f"{self._now():5.0f} s  roll call: {len(seen)} of {len(names)} workers took work")
        idle = sorted(set(names) - seen)
        self._world.tell_where_they_stand(idle)
        return idle

    def _num_jobs(self, status: str) -> int | None:
        """Up to 100; None where the service does not say."""
        answer = self._world.service.http.get("/jobs", params={"status": status, "limit": 100})
        return len(answer.json()["jobs"]) if answer.status_code == 200 else None

    def _orphans(self) -> list[str] | None:
        if "gc" not in {command.NAME for command in COMMANDS}:
            self._say("         `longtake gc` does not exist yet: orphans are looked for by hand only")
            return None
        command = [sys.executable, "-m", "cli.main", "gc", "--dry-run"]
        environment = self._world.environment()
        answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        found = [line for line in answer.stdout.splitlines() if "jobs/" in line]
        return found if answer.returncode == 0 or found else [f"exit code {answer.returncode}: {answer.stderr[-300:]}"]

    def _wipe_once_more(self, reader: Reader, jobs: dict[str, JobEvidence]) -> dict[str, JobEvidence]:
        """FLUSHALL, wait until what was known is known again, give deleted jobs a moment to come back; read all."""
        with self._world.admin(0) as client:
            client.flushall()
        known = {job_id for job_id, found in jobs.items() if found.answer is not None}
        try:
            eventually(lambda: known <= set(reader.listed()), "all jobs to be back", seconds=REBUILD_SECONDS)
        except DeadlinePassed:
            self._say("         not all jobs were rebuilt in time")
        _pause(2.0)
        return reader.read_all(list(jobs))


def _undelivered(submissions: Sequence[Submission], receiver: WebhookReceiver) -> list[str]:
    """Jobs whose end was to be told and was not yet."""
    told = {
        (attempt.payload["data"]["id"], attempt.payload["type"])
        for attempt in list(receiver.tries)
        if attempt.answered < 300
    }
    ended = [each for each in submissions if each.status in TERMINAL and each.delete == "none"]
    wanted = [(str(each.job_id), f"job.{each.status}", each.planned.webhook_events) for each in ended]
    return [job_id for job_id, event, events in wanted if event in events and (job_id, event) not in told]


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
