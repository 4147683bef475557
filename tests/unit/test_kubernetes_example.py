"""deploy/kubernetes/overlays/example, and the copy that docs/kubernetes.md tells to make of it."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from api.http.responses import MAX_BATCH_BYTES, MAX_BODY_BYTES
from cli.main import parse_args
from core.service.settings import Settings
from tests.helpers.containers import REPOSITORY
from tests.helpers.kubernetes import (
    MANIFESTS,
    MINE,
    PAGE,
    Resource,
    built,
    component_of,
    container_of,
    labels_of,
    name_of,
    of_kind,
    ours,
    pod_of,
)

OPERATIONS = REPOSITORY / "docs" / "operations.md"
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def pulls(kustomization: str = MINE) -> dict[str, Resource]:
    """What the CronJobs that pull weights make, by the name of the CronJob: a Job's spec, read as a Deployment's is."""
    found = {name_of(each): dict(each["spec"]["jobTemplate"]) for each in of_kind(kustomization, "CronJob")}
    assert found != {}
    return found


def names_of_models() -> set[str]:
    return {labels_of(each)["pool"] for each in ours(MINE) if component_of(each) == "gpu-worker"}


def test_the_copy_has_what_the_example_has_and_its_components() -> None:
    added = {(each["kind"], name_of(each)) for each in built(MINE)} - {
        (each["kind"], name_of(each)) for each in built("overlays/example")
    }
    kinds = sorted(kind for kind, _ in added)
    assert kinds == ["ScaledObject", "ScaledObject", "Secret"]


def test_the_page_names_every_component() -> None:
    folders = {each.parent for each in MANIFESTS.rglob("kustomization.yaml") if "kind: Component" in each.read_text()}
    kustomization = (MANIFESTS / "overlays" / "example" / "kustomization.yaml").read_text()
    assert folders != set()
    for folder in folders:
        assert f"`components/{folder.name}`" in PAGE.read_text()
        assert f"#  - components/{folder.name} " in kustomization


@pytest.mark.parametrize("kustomization", ["overlays/example", MINE, "overlays/local"])
def test_names_are_ones_that_kubernetes_takes(kustomization: str) -> None:
    for resource in built(kustomization):
        assert DNS_LABEL.fullmatch(name_of(resource)), name_of(resource)


def test_weights_of_each_pool_can_be_pulled_without_its_workers() -> None:
    """A pool without pods gets no job of a model that is not installed, so none of its workers would ever start."""
    assert {labels_of(job)["pool"] for job in pulls().values()} == names_of_models()
    for name, job in pulls().items():
        container = container_of(job)
        (reference,) = [each["valueFrom"] for each in container["env"] if each["name"] == "MODEL"]
        assert reference == {"fieldRef": {"fieldPath": "metadata.labels['pool']"}}
        model = labels_of(job)["pool"]
        assert name == f"longtake-pull-{model}"
        args = parse_args([word.replace("$(MODEL)", model) for word in container["command"][1:]])
        assert (container["command"][:2], args.model) == (["longtake", "pull"], model)


def test_a_pull_writes_the_volume_that_workers_read_and_needs_no_gpu() -> None:
    (worker, *_) = [each for each in ours(MINE) if component_of(each) == "gpu-worker"]
    for job in pulls().values():
        container = container_of(job)
        volumes = {volume["name"]: volume for volume in pod_of(job)["volumes"]}
        assert volumes["weights"] in pod_of(worker)["volumes"]
        assert {"name": "weights", "mountPath": "/weights"} in container["volumeMounts"]
        assert container["image"] == container_of(worker)["image"]
        assert "nvidia.com/gpu" not in container["resources"]["limits"]
        assert {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"} in container["env"]


def test_a_pull_runs_only_when_it_is_asked_for_and_has_no_more_rights_than_workers() -> None:
    (worker, *_) = [each for each in ours(MINE) if component_of(each) == "gpu-worker"]
    there = {(each["kind"], name_of(each)) for each in built(MINE)}
    assert all(each["spec"]["suspend"] is True for each in of_kind(MINE, "CronJob"))
    for job in pulls().values():
        container = container_of(job)
        for field in ("securityContext", "serviceAccountName", "automountServiceAccountToken", "enableServiceLinks"):
            assert pod_of(job)[field] == pod_of(worker)[field]
        assert container["securityContext"] == container_of(worker)["securityContext"]
        (settings,) = container["envFrom"]
        assert ("ConfigMap", settings["configMapRef"]["name"]) in there
        (secret,) = [each["valueFrom"] for each in container["env"] if "secretKeyRef" in each.get("valueFrom", {})]
        assert ("Secret", secret["secretKeyRef"]["name"]) in there


def test_a_pool_that_may_be_empty_keeps_its_first_pod_while_it_downloads() -> None:
    empty = [each for each in of_kind(MINE, "ScaledObject") if each["spec"]["minReplicaCount"] == 0]
    (deployment, *_) = [each for each in ours(MINE) if component_of(each) == "gpu-worker"]
    assert empty != []
    for scaled in empty:
        assert scaled["spec"]["initialCooldownPeriod"] >= deployment["spec"]["progressDeadlineSeconds"]


def test_a_prometheus_that_is_away_takes_no_worker_from_a_busy_pool() -> None:
    for scaled in of_kind(MINE, "ScaledObject"):
        assert scaled["spec"]["fallback"]["behavior"] == "currentReplicasIfHigher"
    assert "KEDA](https://keda.sh) 2.17 or newer" in PAGE.read_text()


def megabytes(text: str, pattern: str) -> int:
    (found,) = re.findall(pattern, text)
    return int(found) * 2**20


def test_proxies_let_the_largest_body_through_that_the_api_takes() -> None:
    largest = max(MAX_BATCH_BYTES, MAX_BODY_BYTES + Settings().max_image_bytes * 4 // 3)
    (ingress,) = of_kind(MINE, "Ingress")
    size = ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"]
    assert megabytes(size, r"^(\d+)m$") >= largest
    assert megabytes(OPERATIONS.read_text(), r"client_max_body_size (\d+)m;") >= largest


def urls_of_redis_over_tls() -> list[str]:
    found = re.findall(r"'(rediss://\S+)'", OPERATIONS.read_text())
    assert len(found) > 1
    return found


def test_files_of_the_tls_examples_are_mounted_where_redis_is_used() -> None:
    paths = {Path(path) for url in urls_of_redis_over_tls() for path in parse_qs(urlsplit(url).query)["ssl_ca_certs"]}
    for deployment in ours(MINE):
        (mount,) = [each for each in container_of(deployment)["volumeMounts"] if each["name"] == "redis-tls"]
        (volume,) = [each for each in pod_of(deployment)["volumes"] if each["name"] == "redis-tls"]
        (secret,) = [each for each in of_kind(MINE, "Secret") if name_of(each) == volume["secret"]["secretName"]]
        assert {Path(mount["mountPath"]) / name for name in secret["data"]} == paths
        assert mount["readOnly"] is True
        assert volume["secret"]["defaultMode"] & 0o040, "the pods' group reads it, and they are not root"


def test_the_certificates_of_clients_that_the_component_names_are_those_of_the_examples() -> None:
    options = [parse_qs(urlsplit(url).query) for url in urls_of_redis_over_tls()]
    paths = {
        Path(path).name for each in options for name in ("ssl_certfile", "ssl_keyfile") for path in each.get(name, ())
    }
    component = MANIFESTS / "overlays" / "example" / "components" / "redis-tls" / "kustomization.yaml"
    assert set(re.findall(r"(?m)^ +# - (\S+)$", component.read_text())) == paths


def test_keys_of_redis_are_ignored_by_git() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().splitlines()
    assert {f"deploy/kubernetes/**/redis-tls/*.{kind}" for kind in ("pem", "key")} <= {*ignored}


def test_pods_reach_redis_with_tls_and_without_a_collector_and_a_prompt_enhancer() -> None:
    (egress,) = [each["spec"]["egress"] for each in of_kind(MINE, "NetworkPolicy") if "egress" in each["spec"]]
    ports = [
        ({each["port"] for each in rule["ports"]}, "ipBlock" in rule["to"][0]) for rule in egress if "ports" in rule
    ]
    assert ({6379, *(urlsplit(url).port for url in urls_of_redis_over_tls())}, True) in ports
    assert ({4318}, False) in ports, "OTLP over HTTP"
    peers = [peer["podSelector"]["matchLabels"] for rule in egress for peer in rule["to"] if "podSelector" in peer]
    assert [each["app.kubernetes.io/name"] for each in peers] == ["opentelemetry-collector", "prompt-enhancer"]
    for rule in egress:
        for peer in rule["to"]:
            assert "ipBlock" in peer or peer["namespaceSelector"]["matchLabels"], "one namespace, not all"


def commands_of_the_page() -> list[tuple[str, str]]:
    """(resource, command) of each `kubectl exec` on the page."""
    found = re.findall(r"kubectl exec (?:-it )?(\S+) -n longtake -- (.+?)(?:`|\n)", PAGE.read_text())
    return [(str(resource), str(command)) for resource, command in found]


def test_the_page_says_how_to_run_pause_and_status_where_their_settings_are() -> None:
    there = {f"{each['kind'].lower()}/{name_of(each)}" for each in built(MINE)}
    words = dict[str, str]()
    for resource, command in commands_of_the_page():
        assert resource in there
        (line,) = re.findall(r"longtake ([a-z]+.*?)'?$", command)
        words[line] = resource
        parse_args(line.split())
    assert words == {"pause": "deployment/longtake-cpu-worker", "status": "deployment/longtake-api"}


def test_status_gets_the_key_of_the_pod_it_runs_in() -> None:
    (command,) = [command for _, command in commands_of_the_page() if "status" in command]
    (variable,) = re.findall(r'LONGTAKE_KEY="\$(\w+)"', command)
    (api,) = [each for each in ours(MINE) if component_of(each) == "api"]
    names = {source["secretRef"]["name"] for source in container_of(api)["envFrom"] if "secretRef" in source}
    given = {key for each in of_kind(MINE, "Secret") if name_of(each) in names for key in each["data"]}
    assert variable in given


def test_a_pull_of_the_page_is_one_that_there_is() -> None:
    found = re.findall(r"kubectl create job \S+ --from=cronjob/(\S+) -n longtake", PAGE.read_text())
    assert found != []
    assert {*found} <= {*pulls()}
