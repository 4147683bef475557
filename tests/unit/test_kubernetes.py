"""deploy/kubernetes, as far as it can be checked without a cluster: against Kubernetes' schemas, and against the code.

tests/unit/test_kubernetes_pools.py has the pools of GPU workers, and what scales them.
"""

from __future__ import annotations

import copy
import re
from itertools import product
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from api.app import create_app
from core.service.settings import Settings
from tests.helpers.containers import REPOSITORY, compose, run_by_longtake, seconds
from tests.helpers.kubernetes import (
    DEPLOYABLE,
    KUSTOMIZATIONS,
    MANIFESTS,
    PAGE,
    Resource,
    built,
    bytes_of,
    command_of,
    component_of,
    container_of,
    environment_of,
    labels_of,
    name_of,
    of_kind,
    ours,
    pod_of,
    probes_of,
    selects,
)

OLDEST, NEWEST = "1.27", "1.37"
"""Kubernetes' versions; docs/kubernetes.md names the oldest."""
CUSTOM = {"ScaledObject"}
"""Kinds of KEDA, which Kubernetes' schemas do not have."""


def deployments(*kustomizations: str) -> list[tuple[str, str]]:
    """(kustomization, component) of all that run Longtake."""
    return [(each, component) for each, component in product(kustomizations, ("api", "cpu-worker", "gpu-worker"))]


each_of_ours = pytest.mark.parametrize(("kustomization", "component"), deployments(*DEPLOYABLE))


def those(kustomization: str, component: str) -> list[Resource]:
    found = [each for each in ours(kustomization) if component_of(each) == component]
    assert found != []
    return found


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_every_resource_follows_kubernetes_own_schema(kustomization: str, version: str) -> None:
    for resource in built(kustomization):
        if resource["kind"] not in CUSTOM:
            assert kubernetes_validate.validate(resource, version, strict=True) == version, name_of(resource)


def test_the_page_names_the_oldest_version_that_is_checked() -> None:
    assert f"Kubernetes {OLDEST} or newer" in PAGE.read_text()


@pytest.mark.parametrize("field", ["terminationGracePeriodSecond", "readinesProbe"])
def test_a_misspelt_field_is_found(field: str) -> None:
    broken = copy.deepcopy(of_kind("base", "Deployment")[0])
    broken["spec"]["template"]["spec"][field] = 20
    with pytest.raises(kubernetes_validate.ValidationError, match=field):
        kubernetes_validate.validate(broken, NEWEST, strict=True)


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_no_two_resources_have_a_name_in_common(kustomization: str) -> None:
    names = [(resource["kind"], name_of(resource)) for resource in built(kustomization)]
    assert len({*names}) == len(names)


@each_of_ours
def test_only_settings_that_exist_are_set(kustomization: str, component: str) -> None:
    known = {f"LONGTAKE_{name.upper()}" for name in Settings.model_fields}
    for deployment in those(kustomization, component):
        names = {name for name in environment_of(kustomization, deployment) if name.startswith("LONGTAKE_")}
        assert names <= known
        assert {"LONGTAKE_REDIS_URL", "LONGTAKE_BROKER_URL", "LONGTAKE_S3_ENDPOINT_URL"} <= names


@each_of_ours
def test_settings_are_valid(kustomization: str, component: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for deployment in those(kustomization, component):
        for name, value in environment_of(kustomization, deployment).items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        assert settings.redis_url != settings.broker_url
        assert (settings.admin_key is not None) is (component == "api"), "the operator's key is the API's alone"


@each_of_ours
def test_commands_and_images_are_those_of_docker_compose(kustomization: str, component: str) -> None:
    service = compose()["services"][component]
    for deployment in those(kustomization, component):
        command = command_of(kustomization, deployment)
        run_by_longtake(command)
        model = ["--model", labels_of(deployment)["pool"]] if component == "gpu-worker" else []
        assert command == [*service["command"], *model]
        assert container_of(deployment)["image"].removeprefix("registry.example.com/") == service["image"]


@each_of_ours
def test_probes_are_ones_that_longtake_answers(kustomization: str, component: str) -> None:
    for deployment in those(kustomization, component):
        container = container_of(deployment)
        ports = {port["name"] for port in container["ports"]}
        for probe in probes_of(container):
            if "exec" in probe:
                command = probe["exec"]["command"]
                run_by_longtake(command)
                assert [*command[:3], *command[-1:]] == ["longtake", "health", "worker", "--ready"]
                assert command[3:-1] == compose()["services"][component]["healthcheck"]["test"][4:]
            else:
                assert probe["httpGet"]["path"] in create_app(Settings()).openapi()["paths"]
                assert probe["httpGet"]["port"] in ports


def test_a_server_that_is_away_restarts_nothing() -> None:
    """/readyz and `longtake health` fail while Redis is away; a liveness or startup probe that fails kills."""
    for deployment in ours("overlays/example"):
        killing = [container_of(deployment).get(f"{name}Probe") for name in ("liveness", "startup")]
        paths = [probe["httpGet"]["path"] for probe in killing if probe is not None]
        assert paths == (["/healthz"] * 2 if component_of(deployment) == "api" else [])
        assert "readinessProbe" in container_of(deployment)


@each_of_ours
def test_pods_get_as_long_to_stop_as_in_docker_compose(kustomization: str, component: str) -> None:
    for deployment in those(kustomization, component):
        before = container_of(deployment).get("lifecycle", {}).get("preStop", {"exec": {"command": ["sleep", "0"]}})
        _, slept = before["exec"]["command"]
        grace = pod_of(deployment)["terminationGracePeriodSeconds"]
        assert grace >= seconds(compose()["services"][component]["stop_grace_period"]) + int(slept)


def test_the_api_leaves_its_service_before_it_stops_listening_and_a_rollout_never_lacks_one() -> None:
    (api,) = those("base", "api")
    assert int(container_of(api)["lifecycle"]["preStop"]["exec"]["command"][1]) > 0
    assert api["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert api["spec"]["replicas"] > 1


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_each_deployment_of_ours_has_one_disruption_budget_and_no_budget_has_another_one(kustomization: str) -> None:
    budgets = of_kind(kustomization, "PodDisruptionBudget")
    chosen = [
        [
            name_of(each)
            for each in of_kind(kustomization, "Deployment")
            if selects(budget["spec"]["selector"], labels_of(each))
        ]
        for budget in budgets
    ]
    assert sorted(chosen) == sorted([name_of(each)] for each in ours(kustomization))
    assert [name_of(budget) for budget in budgets] == [name for (name,) in chosen]


@pytest.mark.parametrize("kustomization", KUSTOMIZATIONS)
def test_each_deployment_selects_its_own_pods_only(kustomization: str) -> None:
    for one, other in product(of_kind(kustomization, "Deployment"), repeat=2):
        assert selects(one["spec"]["selector"], labels_of(other)) is (one is other)


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_each_service_leads_to_a_port_of_one_deployment(kustomization: str) -> None:
    for service in of_kind(kustomization, "Service"):
        selector = {"matchLabels": service["spec"]["selector"]}
        (deployment,) = [each for each in of_kind(kustomization, "Deployment") if selects(selector, labels_of(each))]
        ports = {port["name"] for port in container_of(deployment)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_what_pods_refer_to_is_there(kustomization: str) -> None:
    there = {(resource["kind"], name_of(resource)) for resource in built(kustomization)}
    for deployment in of_kind(kustomization, "Deployment"):
        pod = pod_of(deployment)
        wanted = {("ServiceAccount", pod["serviceAccountName"])} if component_of(deployment) else set()
        for volume in pod.get("volumes", ()):
            if "persistentVolumeClaim" in volume:
                wanted.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
            if "secret" in volume:
                wanted.add(("Secret", volume["secret"]["secretName"]))
        kinds = {"configMapRef": "ConfigMap", "secretRef": "Secret"}
        for source in container_of(deployment).get("envFrom", ()):
            wanted |= {(kinds[kind], reference["name"]) for kind, reference in source.items()}
        keys = [entry.get("valueFrom", {}).get("secretKeyRef") for entry in container_of(deployment).get("env", ())]
        wanted |= {("Secret", key["name"]) for key in keys if key is not None}
        assert wanted <= there


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_pods_keep_the_restricted_security_standard_and_hold_no_token(kustomization: str) -> None:
    for deployment in of_kind(kustomization, "Deployment"):
        pod, container = pod_of(deployment), container_of(deployment)
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False, "a Service longtake-... would be a variable LONGTAKE_..."
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        kinds = {kind for volume in pod.get("volumes", ()) for kind in volume} - {"name"}
        assert kinds <= {"emptyDir", "persistentVolumeClaim", "secret"}


@each_of_ours
def test_pods_run_as_the_images_user(kustomization: str, component: str) -> None:
    users = set(re.findall(r"(?m)^USER (\d+):(\d+)$", (REPOSITORY / "Dockerfile.gpu").read_text()))
    for deployment in those(kustomization, component):
        context = pod_of(deployment)["securityContext"]
        assert {(str(context["runAsUser"]), str(context["runAsGroup"]))} == users
        assert context["fsGroup"] == context["runAsGroup"], "or volumes could not be written"


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_what_a_container_writes_is_a_volume(kustomization: str) -> None:
    for deployment in of_kind(kustomization, "Deployment"):
        mounts = {mount["name"]: mount["mountPath"] for mount in container_of(deployment).get("volumeMounts", ())}
        assert {*mounts} == {volume["name"] for volume in pod_of(deployment).get("volumes", ())}
        service = compose()["services"][component_of(deployment) or name_of(deployment).removeprefix("longtake-")]
        written = {volume.split(":")[1] for volume in service.get("volumes", ()) if not volume.endswith(":ro")}
        assert written | {folder for folder in service.get("tmpfs", ())} <= {*mounts.values()}


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_tmp_of_cpu_workers_holds_their_input_media(kustomization: str) -> None:
    for deployment in those(kustomization, "cpu-worker"):
        (folder,) = [volume["emptyDir"] for volume in pod_of(deployment)["volumes"] if volume["name"] == "tmp"]
        settings = environment_of(kustomization, deployment)
        assert "LONGTAKE_MEDIA_DISK_BYTES" not in settings, "then read it here"
        assert bytes_of(folder["sizeLimit"]) >= 2 * Settings().media_disk_bytes


def test_the_memory_of_cpu_workers_holds_all_decoders() -> None:
    settings = Settings()
    for deployment in those("base", "cpu-worker"):
        limit = bytes_of(container_of(deployment)["resources"]["limits"]["memory"])
        assert limit > settings.media_decodes * settings.media_decode_memory_bytes


@pytest.mark.parametrize("example", sorted(MANIFESTS.rglob("*.env.example")), ids=lambda path: path.parent.name)
def test_examples_of_secrets_have_no_values_and_git_ignores_what_is_made_of_them(example: Path) -> None:
    lines = [line for line in example.read_text().splitlines() if line and not line.startswith("#")]
    assert lines != []
    assert [line for line in lines if not re.fullmatch(r"LONGTAKE_\w+=", line)] == []
    assert example.with_suffix("").name in (REPOSITORY / ".gitignore").read_text().splitlines()


def test_secrets_are_in_no_config_map() -> None:
    secret = {
        f"LONGTAKE_{name.upper()}" for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)
    }
    assert "LONGTAKE_WEBHOOK_SECRET" in secret
    for kustomization in KUSTOMIZATIONS:
        for settings in of_kind(kustomization, "ConfigMap"):
            assert not secret & {*settings["data"]}


@pytest.mark.parametrize(("server", "field"), [("redis", "command"), ("s3", "args")])
def test_the_servers_of_a_try_are_those_of_docker_compose(server: str, field: str) -> None:
    (deployment,) = [each for each in of_kind("overlays/local", "Deployment") if name_of(each) == f"longtake-{server}"]
    service = compose()["services"][server]
    assert container_of(deployment)[field] == service["command"]
    assert container_of(deployment)["image"] == service["image"]


def test_prometheus_of_the_page_finds_the_pods() -> None:
    (text,) = re.findall(r"```yaml\n(# prometheus\.yml.*?)```", PAGE.read_text(), flags=re.DOTALL)
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    for deployment in ours("overlays/example"):
        name = "longtake-api" if component_of(deployment) == "api" else "longtake-worker"
        ports = {port["name"] for port in container_of(deployment)["ports"]}
        sources = {"component": component_of(deployment), "name": labels_of(deployment)["app.kubernetes.io/name"]}
        kept = [rule for rule in jobs[name]["relabel_configs"] if rule["action"] == "keep"]
        for rule in kept:
            (source,) = rule["source_labels"]
            values = ports if source.endswith("container_port_name") else {sources[source.rpartition("_")[2]]}
            assert any(re.fullmatch(rule["regex"], value) for value in values), rule
        assert len(kept) == 3
