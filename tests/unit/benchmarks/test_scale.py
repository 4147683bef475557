"""The arithmetic of the scale benchmark, and requests at a given rate."""

from __future__ import annotations

import os
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.http import request_of
from benchmarks.load import Load, measure_paced
from benchmarks.scale.costs import RedisUse, kind_of
from benchmarks.scale.jobs import CHUNKS, OWNERS, chunk_of, new_record
from benchmarks.scale.measure import percentile
from benchmarks.scale.pair import rate
from benchmarks.scale.workers import Claims, all_of
from core.service.domain.schema import Lane
from core.service.redis import keys

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 2), (75, 3), (99, 4), (100, 4)])
def test_percentile_is_the_smallest_value_that_so_many_do_not_exceed(percent: float, value: float) -> None:
    assert percentile([4, 2, 3, 1], percent) == value


def test_nothing_measured_has_no_percentile() -> None:
    with pytest.raises(AssertionError, match="nothing"):
        percentile([], 99)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (keys.job_key("job_a"), "longtake:job:ID:record"),
        (keys.lease_key("job_longtake", Lane.GENERATE), "longtake:job:ID:lease:generate"),
        (keys.jobs_index(OWNERS[0], "queued"), "longtake:jobs:owner:ID:queued"),
        (keys.frames_of(OWNERS[1], START.date()), "longtake:usage:ID:frames:ID"),
        (keys.ALL_JOBS, keys.ALL_JOBS),
    ],
)
def test_keys_of_all_jobs_and_owners_are_of_one_kind(key: str, kind: str) -> None:
    assert kind_of(key) == kind


def test_use_of_redis_is_what_came_since() -> None:
    before = RedisUse(1.0, 10, 100, Counter(exec=5, get=7))
    used = RedisUse(1.5, 14, 250, Counter(exec=9, get=7, set=2)).since(before)
    assert (used.cpu_seconds, used.commands, used.microseconds) == (0.5, 4, Counter(exec=4, set=2))


def test_jobs_are_of_every_key_and_class() -> None:
    records = [new_record(number) for number in range(100)]
    assert {record.owner for record in records} == set(OWNERS)
    classes = {(record.owner, record.spec.model_dump()["priority"]) for record in records}
    assert len(classes) == 3 * len(OWNERS)
    assert sum(chunk_of(records[0], index).num_frames for index in range(CHUNKS)) == records[0].spec.num_frames


def test_claims_of_all_workers_are_put_together() -> None:
    assert all_of([Claims([1.0], 2), Claims([], 1), Claims([3.0, 2.0], 0)]) == Claims([1.0, 3.0, 2.0], 3)


def test_rate_counts_what_was_made_in_the_time() -> None:
    times = [START + timedelta(seconds=second) for second in (-0.1, 0, 1, 3.9, 4)]
    assert rate(times, START, 4) == 0.75


def test_paced_requests_do_not_wait_for_the_answers_before() -> None:
    all_are_here = threading.Barrier(20, timeout=60)

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            all_are_here.wait()
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None: ...  # pyright: ignore[reportIncompatibleMethodOverride]

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            load = Load(server.server_port, os.getpid(), request_of("GET", "/"), 200)
            assert len(measure_paced(load, per_second=100, seconds=0.2)) == 20
        finally:
            server.shutdown()
            serving.join()
