"""A canceled job keeps its chunks; a deleted one leaves nothing."""

from __future__ import annotations

import pytest

from core.service.domain.manifest import job_prefix
from core.service.domain.schema import JobStatus
from tests.helpers.deadline import eventually
from tests.helpers.service import Service
from tests.helpers.video import probe


def test_cancel_midway_leaves_a_playable_partial_video(service: Service) -> None:
    job = service.submit(model="slow", num_frames=160)
    service.wait_for_chunks(job.id, 2)
    assert service.http.post(f"/jobs/{job.id}/cancel").status_code == 202
    ended = service.wait_for_end(job.id)
    assert ended.status is JobStatus.CANCELED
    assert 2 <= len(ended.chunks) < 10
    assert probe(service.video(job.id)).num_frames == ended.progress.frames_done == 16 * len(ended.chunks)
    assert probe(job.links.playlist).num_frames == ended.progress.frames_done


def test_cancel_is_noticed_within_a_step_not_a_chunk(service: Service) -> None:
    job = service.submit(model="endless", num_frames=160)
    eventually(lambda: service.job(job.id).progress.step >= 1, "the first chunk's second step")
    service.http.post(f"/jobs/{job.id}/cancel")
    ended = service.wait_for_end(job.id)
    assert (ended.status, ended.chunks) == (JobStatus.CANCELED, [])
    assert service.http.get(f"/jobs/{job.id}/video").status_code == 409


def test_cancel_of_a_waiting_job_ends_it_at_once(own_service: Service) -> None:
    job = own_service.submit(num_frames=16)
    answer = own_service.http.post(f"/jobs/{job.id}/cancel").json()
    assert answer["status"] == "canceled"
    assert own_service.http.post(f"/jobs/{job.id}/cancel").json()["status"] == "canceled"


def test_cancel_of_an_ended_job_is_a_conflict(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    response = service.http.post(f"/jobs/{job.id}/cancel")
    assert response.status_code == 409
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == "job_state_conflict"


@pytest.mark.parametrize("path", ["", "/chunks", "/playlist.m3u8", "/video", "/events"])
def test_deleted_job_is_gone_everywhere(service: Service, path: str) -> None:
    job = service.wait_for_success(service.submit(num_frames=16).id)
    assert service.http.delete(f"/jobs/{job.id}").status_code == 204
    assert service.http.get(f"/jobs/{job.id}{path}").status_code == 404


def test_delete_removes_every_object(service: Service) -> None:
    job = service.wait_for_success(service.submit(num_frames=32).id)
    storage = service.storage()
    assert len(list(storage.list(job_prefix(job.id)))) >= 5
    service.http.delete(f"/jobs/{job.id}")
    eventually(lambda: not list(storage.list(job_prefix(job.id))), "the objects to go")
    assert job.id not in [listed["id"] for listed in service.http.get("/jobs").json()["jobs"]]


def test_delete_of_a_running_job_stops_it_and_leaves_no_object(service: Service) -> None:
    job = service.submit(model="slow", num_frames=160)
    service.wait_for_chunks(job.id, 1)
    assert service.http.delete(f"/jobs/{job.id}").status_code == 202
    assert service.http.get(f"/jobs/{job.id}").status_code == 404
    client = service.redis()
    eventually(lambda: not list(client.scan_iter(f"*{job.id}*")), "the last key to go")
    assert not list(service.storage().list(job_prefix(job.id)))
    client.close()
