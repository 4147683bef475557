"""A code has one description, also where its status differs by path."""

from __future__ import annotations

from fastapi.testclient import TestClient

from api.http.problems import UnknownModelPath, documented_errors, kind_of
from core.service.domain.errors import UnknownModel


def test_a_class_that_only_has_another_status_does_not_describe_its_code(api: TestClient) -> None:
    assert documented_errors()["unknown_model"] is UnknownModel
    assert [kind_of(each).status for each in (UnknownModel, UnknownModelPath)] == [422, 404]
    assert "HTTP 422" in api.get("/problems/unknown_model").text
