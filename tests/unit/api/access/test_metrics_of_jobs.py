"""Who reads the metrics of a job, and who may ask for them."""

from __future__ import annotations

from tests.helpers.api_world import World, submit
from tests.helpers.callers import Callers, path_of


def test_other_keys_see_and_ask_for_nothing_and_a_link_only_reads(callers: Callers, world: World) -> None:
    job_id = submit(callers.one, measure=True)
    world.finish(job_id)
    world.measure(job_id)
    assert callers.one.get(f"/jobs/{job_id}/metrics").status_code == 200
    for method in ("GET", "POST"):
        other = callers.other.request(method, f"/jobs/{job_id}/metrics")
        assert (other.status_code, other.json()["code"]) == (404, "job_not_found")
        assert callers.nobody.request(method, f"/jobs/{job_id}/metrics").status_code == 401
    link = path_of(callers.one.get(f"/jobs/{job_id}").json()["links"]["metrics"])
    assert callers.nobody.get(link).status_code == 200
    assert callers.nobody.post(link).status_code == 401
