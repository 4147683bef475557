"""/v1/models: the installed models."""

from __future__ import annotations

from fastapi.testclient import TestClient


def test_installed_models_are_listed_and_read(api: TestClient) -> None:
    (model,) = api.get("/v1/models").json()["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("fake", "model", "longtake")
    assert model["created"] > 1_600_000_000
    assert api.get("/v1/models/fake").json() == model
    refused = api.get("/v1/models/sora-2")
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "model")
    assert refused.json()["error"]["code"] == "unknown_model", "as of POST /v1/videos"
    assert "use one of: fake" in refused.json()["error"]["message"]
