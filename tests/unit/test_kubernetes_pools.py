"""deploy/kubernetes: the pools of GPU workers, what scales them, and who may connect to whom."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import promql_parser
import pytest
from promql_parser import Expr, VectorSelector

from api.pool_metrics import pool_metrics
from cli.main import parse_args
from core.service.admission.catalog import PresetFolder
from core.service.settings import SHIPPED_PRESETS_DIR, Settings
from tests.helpers.kubernetes import (
    DEPLOYABLE,
    MINE,
    Resource,
    command_of,
    component_of,
    container_of,
    environment_of,
    labels_of,
    name_of,
    of_kind,
    ours,
    selects,
)

SCHEMA = json.loads(Path(__file__).with_name("keda_schema.json").read_text())


def pools(kustomization: str) -> dict[str, Resource]:
    """The Deployments of GPU workers by their pool."""
    found = [each for each in ours(kustomization) if component_of(each) == "gpu-worker"]
    by_pool = {labels_of(each)["pool"]: each for each in found}
    assert len(by_pool) == len(found) > 0
    return by_pool


def scaled_objects() -> list[Resource]:
    found = of_kind(MINE, "ScaledObject")
    assert found != []
    return found


def selectors_of(query: str) -> list[VectorSelector]:
    """Raises ValueError if it is no PromQL."""
    nodes = list[Expr]()
    promql_parser.walk(promql_parser.parse(query), nodes.append)
    return [node for node in nodes if isinstance(node, VectorSelector)]


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_a_pool_is_a_model_that_there_is(kustomization: str) -> None:
    for pool, deployment in pools(kustomization).items():
        args = parse_args(command_of(kustomization, deployment)[1:])
        assert (args.model, args.kind, args.gpus) == (pool, "both", "all")
        assert PresetFolder(SHIPPED_PRESETS_DIR / pool, Settings()).preset.engine


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_some_pool_serves_the_default_model(kustomization: str) -> None:
    for deployment in ours(kustomization):
        assert environment_of(kustomization, deployment)["LONGTAKE_DEFAULT_MODEL"] in pools(kustomization)


@pytest.mark.parametrize("kustomization", ["overlays/example", MINE])
def test_each_gpu_worker_has_one_gpu_and_no_other_pod_has_any(kustomization: str) -> None:
    for deployment in ours(kustomization):
        limits = container_of(deployment)["resources"]["limits"]
        if component_of(deployment) == "gpu-worker":
            assert limits["nvidia.com/gpu"] == "1"
        else:
            assert "nvidia.com/gpu" not in limits
            assert environment_of(kustomization, deployment)["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_a_try_needs_no_gpu() -> None:
    for deployment in ours("overlays/local"):
        assert "nvidia.com/gpu" not in json.dumps(container_of(deployment)["resources"])


def test_a_new_gpu_worker_waits_for_no_gpu_that_an_old_one_has() -> None:
    for deployment in pools("overlays/example").values():
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_all_pools_share_the_volume_of_weights_and_the_api_only_reads_it() -> None:
    for deployment in ours("overlays/example"):
        template = deployment["spec"]["template"]["spec"]
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in template["volumes"]
            if "persistentVolumeClaim" in volume
        }
        read_only = {
            mount["name"]: mount.get("readOnly", False) for mount in container_of(deployment).get("volumeMounts", ())
        }
        if component_of(deployment) == "cpu-worker":
            assert claims == {}
        else:
            assert claims == {"weights": "longtake-weights"}
            assert read_only["weights"] is (component_of(deployment) == "api")


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_metrics_of_workers_are_where_prometheus_looks(kustomization: str) -> None:
    for deployment in ours(kustomization):
        if component_of(deployment) != "api":
            settings = environment_of(kustomization, deployment)
            (port,) = [each for each in container_of(deployment)["ports"] if each["name"] == "metrics"]
            annotations = deployment["spec"]["template"]["metadata"]["annotations"]
            assert annotations["prometheus.io/port"] == settings["LONGTAKE_WORKER_METRICS_PORT"]
            assert str(port["containerPort"]) == settings["LONGTAKE_WORKER_METRICS_PORT"]
            assert settings["LONGTAKE_WORKER_METRICS_HOST"] == "0.0.0.0"  # noqa: S104


@pytest.mark.parametrize("kustomization", DEPLOYABLE)
def test_a_policy_says_who_may_connect_to_each_pod_of_ours(kustomization: str) -> None:
    policies = [each["spec"] for each in of_kind(kustomization, "NetworkPolicy")]
    for deployment in ours(kustomization):
        chosen = [
            policy
            for policy in policies
            if "Ingress" in policy["policyTypes"] and selects(policy["podSelector"], labels_of(deployment))
        ]
        (policy,) = chosen
        (rule,) = policy["ingress"]
        assert {each["port"] for each in rule["ports"]} == {each["name"] for each in container_of(deployment)["ports"]}
        assert ("from" in rule) is (component_of(deployment) != "api"), "metrics of workers ask for no key"


def test_pods_of_the_example_reach_no_private_address_but_redis() -> None:
    (egress,) = [each["spec"] for each in of_kind("overlays/example", "NetworkPolicy") if "egress" in each["spec"]]
    assert all(selects(egress["podSelector"], labels_of(each)) for each in ours("overlays/example"))
    blocks = [peer["ipBlock"] for rule in egress["egress"] for peer in rule["to"] if "ipBlock" in peer]
    excepted = {cidr for block in blocks for cidr in block.get("except", ())}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"} <= excepted
    assert [block["cidr"] for block in blocks if "/32" in block["cidr"]] == ["10.20.0.10/32"]


def test_scaled_objects_have_the_fields_of_keda() -> None:
    for scaled in scaled_objects():
        jsonschema.Draft202012Validator(SCHEMA).validate(scaled)
        assert scaled["spec"]["minReplicaCount"] < scaled["spec"]["maxReplicaCount"]
        assert scaled["spec"]["fallback"]["replicas"] <= scaled["spec"]["maxReplicaCount"]


def _a_number(scaled: Resource) -> None:
    scaled["spec"]["triggers"][0]["metadata"]["threshold"] = 1


def _a_misspelt_field(scaled: Resource) -> None:
    scaled["spec"]["minReplicas"] = 1


def _no_target(scaled: Resource) -> None:
    del scaled["spec"]["scaleTargetRef"]


@pytest.mark.parametrize("break_it", [_a_number, _a_misspelt_field, _no_target])
def test_a_broken_scaled_object_is_found(break_it: Callable[[Resource], None]) -> None:
    broken = copy.deepcopy(scaled_objects()[0])
    break_it(broken)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMA).validate(broken)


def test_every_pool_is_scaled_by_its_own_desired_workers() -> None:
    names = {metric.name for metric in pool_metrics([], ["sprites"], [], 120.0, ())}
    by_target = {each["spec"]["scaleTargetRef"]["name"]: each for each in scaled_objects()}
    assert by_target.keys() == {name_of(each) for each in pools(MINE).values()}
    for pool, deployment in pools(MINE).items():
        scaled = by_target[name_of(deployment)]
        (trigger,) = scaled["spec"]["triggers"]
        (selector,) = selectors_of(trigger["metadata"]["query"])
        assert selector.name == "longtake_pool_desired_workers"
        assert selector.name in names
        assert [(one.name, one.value) for one in selector.matchers.matchers] == [("pool", pool)]
        assert (trigger["metricType"], trigger["metadata"]["threshold"]) == ("AverageValue", "1")
        assert scaled["metadata"]["namespace"] == deployment["metadata"]["namespace"]


def test_applying_again_does_not_undo_what_keda_scaled() -> None:
    assert all("replicas" not in deployment["spec"] for deployment in pools(MINE).values())
    assert all(deployment["spec"]["replicas"] > 0 for deployment in pools("overlays/example").values())
