"""What all lanes share: log lines of a job name the request that created it."""

import logging

import pytest

from core.service.request_ids import current_request_id, working_for
from tests.helpers.fake_world import World
from tests.helpers.log_records import request_ids_in_log_records, requests_of


def test_log_lines_of_a_job_name_the_request_that_created_it(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "worker.lanes")
    with working_for("trace-7"):
        world.submit(num_frames=16)
    with request_ids_in_log_records():
        world.maker().work()
    assert any("committed" in record.message for record in caplog.records)
    assert requests_of(caplog.records) == {" [request trace-7]"}
    assert current_request_id() is None
