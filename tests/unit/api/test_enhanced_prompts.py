"""`enhance_prompt`: the endpoint's prompt is used, or the job has a warning."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.service.domain.errors import PromptEnhancerFailed
from core.service.domain.schema import JobSpec
from tests.helpers.api_world import PROMPT, World

LONGER = "a red circle moving left over a striped background"


class Writer:
    """ports.PromptEnhancer that answers with what it was given."""

    def __init__(self, *answers: str | Exception) -> None:
        self._answers = iter(answers)
        self.asked: list[tuple[str, str]] = []

    async def answer(self, instructions: str, text: str) -> str:
        self.asked.append((instructions, text))
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def post(world: World, *answers: str | Exception, **fields: Any) -> dict[str, Any]:
    world.enhancer = Writer(*answers)
    with world.client() as api:
        answer = api.post("/jobs", json={"prompt": PROMPT, "enhance_prompt": True, **fields})
    assert answer.status_code == 202, answer.text
    return answer.json()


def test_the_longer_prompt_is_stored_shown_and_given_to_the_engine(world: World) -> None:
    job = post(world, f' "{LONGER}"\n')
    assert (job["request"]["prompt"], job["request"]["prompt_used"], job["warnings"]) == (PROMPT, LONGER, [])
    spec = world.store.get(job["id"]).spec
    assert (spec.for_engine().prompt, spec.prompt) == (LONGER, PROMPT)


def test_the_endpoint_is_told_what_a_prompt_for_the_model_is(world: World) -> None:
    post(world, LONGER)
    assert isinstance(world.enhancer, Writer)
    ((instructions, text),) = world.enhancer.asked
    assert text == PROMPT
    limit = world.ports().catalog.get("fake").preset.max_prompt_tokens
    assert f"at most {int(limit * 0.7)} words" in instructions


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (PromptEnhancerFailed("it is asleep"), "it is asleep"),
        ("", "no visible text"),
        ("red " * 500, "tokens"),
        ("x" * 4001, "4000 characters"),
        ("a red\u202e circle", "U+202E"),
    ],
)
def test_what_cannot_be_used_is_a_warning(world: World, answer: str | Exception, why: str) -> None:
    job = post(world, answer)
    (warning,) = job["warnings"]
    assert (warning["code"], warning["field"]) == ("prompt_not_enhanced", "enhance_prompt")
    assert why in warning["message"]
    assert job["request"]["prompt_used"] is None
    spec = JobSpec.model_validate(job["request"])
    assert spec.for_engine() is spec


def test_a_prompt_that_is_too_long_for_the_refiner_is_a_warning(world: World) -> None:
    limit = world.ports().catalog.get("fake").preset.max_prompt_tokens
    fitting = " ".join(["red"] * (limit - 2))
    assert post(world, fitting, refine=True)["request"]["prompt_used"] in {None, fitting}


def test_without_an_endpoint_the_field_is_refused(api: TestClient) -> None:
    answer = api.post("/jobs", json={"prompt": PROMPT, "enhance_prompt": True})
    assert (answer.status_code, answer.json()["code"]) == (422, "field_not_supported")
    assert "LONGTAKE_PROMPT_ENHANCER_URL" in answer.json()["fix"]
    assert api.post("/jobs", json={"prompt": PROMPT, "enhance_prompt": False}).status_code == 202


def test_a_bad_request_asks_no_endpoint(world: World) -> None:
    world.enhancer = Writer()
    with world.client() as api:
        answer = api.post("/jobs", json={"prompt": PROMPT, "enhance_prompt": True, "num_frames": 3})
        assert answer.status_code == 422
        plan = api.post("/jobs?dry_run=true", json={"prompt": PROMPT, "enhance_prompt": True})
        assert plan.status_code == 200
    assert world.enhancer.asked == []


def test_jobs_of_a_batch_are_enhanced_each_by_itself(world: World) -> None:
    world.enhancer = Writer(LONGER, PromptEnhancerFailed("it is asleep"))
    body = {"prompt": PROMPT, "enhance_prompt": True}
    with world.client() as api:
        jobs = {"jobs": [body, {**body, "num_frames": 3}, {"prompt": PROMPT}, body]}
        results = api.post("/jobs/batch", json=jobs).json()["results"]
    assert [each["status"] for each in results] == [202, 422, 202, 202]
    used = [each["job"] and each["job"]["request"]["prompt_used"] for each in results]
    assert used == [LONGER, None, None, None]
    assert results[3]["job"]["warnings"][0]["code"] == "prompt_not_enhanced"


def test_a_retry_has_the_prompt_of_the_first_request(world: World) -> None:
    world.enhancer = Writer(LONGER)
    body, headers = {"prompt": PROMPT, "enhance_prompt": True}, {"Idempotency-Key": "a"}
    with world.client() as api:
        api.post("/jobs", json=body, headers=headers)
        again = api.post("/jobs", json=body, headers=headers)
    assert (again.status_code, again.json()["request"]["prompt_used"]) == (200, LONGER)
