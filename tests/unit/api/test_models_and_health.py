"""GET /models: models and their workers. Health checks: whether jobs can be accepted, and why not."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from core.service.domain.errors import StoreError
from core.service.domain.ports import WorkerStatus
from core.service.settings import Settings
from core.service.testing.job_store import FakeJobStore
from tests.helpers.api_world import PROMPT, World
from tests.helpers.presets import MAX_PROMPT_TOKENS, change_preset, write_fake_preset


def worker(name: str = "gpu-0", **changes: Any) -> WorkerStatus:
    status: dict[str, Any] = {"kind": "generate", "model": "fake", "state": "ready", "device": "cpu", "pid": 7}
    return WorkerStatus(name=name, started_at=datetime(2026, 1, 1, tzinfo=UTC), **{**status, **changes})


def test_models_come_with_limits_and_defaults(api: TestClient, world: World) -> None:
    listed = api.get("/models").json()
    model = listed["models"][0]
    assert (listed["default_model"], model["name"], model["width"]) == ("fake", "fake", 64)
    assert model["limits"] == {
        "max_prompt_tokens": MAX_PROMPT_TOKENS,
        "min_frames": 16,
        "max_frames": world.settings.max_frames,
    }
    assert (model["defaults"]["fps"], model["defaults"]["num_frames"]) == (8, world.settings.default_num_frames)


def test_a_models_own_rate_may_be_a_fraction(api: TestClient, world: World) -> None:
    change_preset(world.settings.presets_dir / "fake", fps="24000/1001")
    assert api.get("/models").json()["models"][0]["defaults"]["fps"] == "24000/1001"
    answer = api.post("/jobs", json={"prompt": PROMPT}).json()
    assert (answer["request"]["fps"], answer["warnings"]) == ("24000/1001", [])


def test_models_come_with_the_steps_sizes_and_lengths_that_may_be_asked(tmp_path: Path) -> None:
    limits: dict[str, Any] = {"max_frames": 96, "max_inference_steps": 2, "max_refine_pixels": 192 * 192}
    world = World(Settings(presets_dir=tmp_path, max_first_chunk_steps=30, max_lockstep_frames=64, **limits))
    write_fake_preset(tmp_path, "fake", refiner=True)
    change_preset(tmp_path / "fake", limits={"max_frames": 32, "max_refine_steps": 20})
    with world.client() as api:
        model = api.get("/models").json()["models"][0]

    assert (model["limits"]["max_frames"], model["defaults"]["num_frames"]) == (32, 32)
    fast = model["profiles"]["fast"]
    assert (fast["num_inference_steps"], fast["max_inference_steps"], fast["max_first_chunk_steps"]) == (4, 4, 30)
    refine = model["refine"]
    assert (refine["max_steps"], refine["max_lockstep_frames"], refine["sizes"][-1]) == (20, 64, "192x192")


def test_models_come_with_the_words_that_they_know(world: World) -> None:
    write_fake_preset(world.settings.presets_dir, "worded", words=["red", "circle", "the"])
    with world.client() as api:
        words = {model["name"]: model["known_words"] for model in api.get("/models").json()["models"]}
    assert words == {"fake": [], "worded": ["circle", "red"]}


def test_a_model_without_workers_says_so(api: TestClient) -> None:
    workers = api.get("/models").json()["models"][0]["workers"]
    assert workers == {"ready": 0, "total": 0, "reason": "no worker is running for this model"}


def test_workers_of_a_model_are_counted_with_the_reason_where_none_is_ready(api: TestClient, world: World) -> None:
    world.workers.report(worker("a", state="not_ready", reason="unet.safetensors is damaged"), 10)
    world.workers.report(worker("b", state="starting"), 10)
    world.workers.report(worker("c", kind="cpu", model=None), 10)
    workers = api.get("/models").json()["models"][0]["workers"]
    assert workers == {"ready": 0, "total": 2, "reason": "unet.safetensors is damaged; the worker is starting"}
    world.workers.report(worker("b", state="busy"), 10)
    assert api.get("/models").json()["models"][0]["workers"] == {"ready": 1, "total": 2, "reason": None}


def test_a_model_shows_its_refiner_and_refining_workers(api: TestClient, world: World) -> None:
    world.workers.report(worker("a", kind="refine"), 10)
    world.workers.report(worker("b", kind="both", state="busy"), 10)
    world.workers.report(worker("c"), 10)
    model = api.get("/models").json()["models"][0]
    assert (model["refine"]["width"], model["refine"]["strength"], model["refine"]["workers_ready"]) == (128, 0.6, 2)
    assert model["refine"]["sizes"][::4] == ["64x64", "96x96", "128x128", "160x160", "192x192", "224x224", "256x256"]
    assert model["workers"]["total"] == 2


def test_a_broken_preset_does_not_hide_the_others(world: World) -> None:
    broken = write_fake_preset(world.settings.presets_dir, "broken")
    (broken / "preset.json").write_text("{}")
    with world.client() as api:
        listed = api.get("/models").json()
    assert [model["name"] for model in listed["models"]] == ["fake"]
    assert list(listed["unusable"]) == ["broken"]


def test_a_living_process_is_healthy_whatever_else_is_broken(api: TestClient, world: World) -> None:
    world.storage.broken = True
    assert api.get("/healthz").json() == {"status": "ok"}


def test_ready_with_every_worker_listed(api: TestClient, world: World) -> None:
    world.workers.report(worker(state="not_ready", reason="no weights"), 10)
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert [(w["name"], w["state"], w["reason"]) for w in answer.json()["workers"]] == [
        ("gpu-0", "not_ready", "no weights")
    ]


def test_not_ready_without_the_storage(api: TestClient, world: World) -> None:
    world.storage.broken = True
    answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    assert answer.json()["storage"] == {"ok": False, "reason": "the fake storage is broken"}
    assert answer.json()["redis"] == {"ok": True, "reason": None}


class SilentStore(FakeJobStore):
    """Redis is away."""

    def ping(self) -> None:
        raise StoreError("Redis does not answer")


def test_not_ready_without_redis(world: World) -> None:
    world.store = SilentStore(world.clock)
    with world.client() as api:
        answer = api.get("/readyz")
    assert (answer.status_code, answer.json()["redis"]["reason"]) == (503, "Redis does not answer")


def test_a_model_that_is_not_installed_says_what_installs_it_and_takes_no_jobs(world: World) -> None:
    write_downloaded(world.settings.presets_dir, "large")
    with world.client() as api:
        models = {model["name"]: model for model in api.get("/models").json()["models"]}
        refused = api.post("/jobs", json={"prompt": "a red circle", "model": "large"})

    assert (models["fake"]["installed"], models["fake"]["install_command"]) == (True, None)
    assert (models["large"]["installed"], models["large"]["install_command"]) == (False, "longtake pull large")
    assert refused.status_code == 503
    problem = refused.json()
    assert problem["code"] == "model_not_installed"
    assert "all.ckpt of org/method" in problem["detail"]
    assert "longtake pull large" in str(problem)


def test_a_model_tells_its_card_and_which_control_types_are_installed(world: World) -> None:
    write_downloaded(world.settings.presets_dir, "large")
    card = {"source": "https://example.com", "licence": "CC0-1.0", "disk_gb": 2.5, "gpu_memory_gb": 6.0, "notes": ""}
    change_preset(world.settings.presets_dir / "large", card=card, control=["canny", "depth"])
    folder = world.settings.presets_dir / "large"
    change_preset(folder, download=None)
    (folder / "controlnet" / "depth").mkdir(parents=True)
    with world.client() as api:
        models = {model["name"]: model for model in api.get("/models").json()["models"]}

    assert (models["fake"]["card"], models["fake"]["controls"]) == (None, [])
    assert models["large"]["card"] == card
    # Nothing of it can be downloaded.
    assert models["large"]["controls"] == [
        {"type": "canny", "installed": False, "install_command": None},
        {"type": "depth", "installed": True, "install_command": None},
    ]


def test_a_refiner_that_is_not_installed_is_not_offered_and_refused_with_the_command(tmp_path: Path) -> None:
    world = World(Settings(presets_dir=tmp_path / "presets", weights_dir=tmp_path / "weights"))
    write_downloaded(world.settings.presets_dir, "large")
    (tmp_path / "weights" / "large").mkdir(parents=True)
    (tmp_path / "presets" / "large" / "tokenizer").rename(tmp_path / "weights" / "large" / "tokenizer")
    with world.client() as api:
        model = api.get("/models").json()["models"][0]
        refused = api.post("/jobs", json={"prompt": "a red circle", "model": "large", "refine": True}).json()
        accepted = api.post("/jobs", json={"prompt": "a red circle", "model": "large"})

    assert (model["name"], model["installed"], model["refine"]) == ("large", True, None)
    assert (refused["code"], refused["detail"]) == ("model_not_installed", "the refiner of large is not installed")
    assert "longtake pull large --refiner" in str(refused)
    assert accepted.status_code == 202


def write_downloaded(presets_dir: Path, name: str) -> None:
    """A preset whose weights are on a Hub."""
    file = write_fake_preset(presets_dir, name, refiner=True) / "preset.json"
    source = {"repository": "org/method", "revision": "main", "files": ["all.ckpt"]}
    file.write_text(json.dumps({**json.loads(file.read_text()), "download": {"checkpoint": source, "base": source}}))
