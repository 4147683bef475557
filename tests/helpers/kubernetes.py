"""The kustomizations of deploy/kubernetes for tests: built by kubectl, and the parts of the result. Asks no cluster."""

from __future__ import annotations

import re
import shutil
import subprocess
import sysconfig
from base64 import b64decode
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

from tests.helpers.containers import DEMO_SECRETS, REPOSITORY

MANIFESTS = REPOSITORY / "deploy" / "kubernetes"
MINE = "overlays/mine"
"""The copy of the example that docs/kubernetes.md tells to make, with every component switched on."""
DEPLOYABLE = ("overlays/example", MINE, "overlays/local")
"""Those that are complete: with GPU workers and secrets."""
KUSTOMIZATIONS = ("base", "gpu-worker", "pull", *DEPLOYABLE)
PAGE = REPOSITORY / "docs" / "kubernetes.md"
_SECRETS = {f"LONGTAKE_{name}": value for name, value in DEMO_SECRETS.items()} | {
    "LONGTAKE_METRICS_KEY": "key-of-prometheus-0123456789abcdef",
    "LONGTAKE_REDIS_URL": "redis://redis.example.com:6379/0",
    "LONGTAKE_BROKER_URL": "redis://redis.example.com:6379/1",
}
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

Resource = dict[str, Any]


@cache
def built(kustomization: str) -> tuple[Resource, ...]:
    """The resources of MINE or a folder below deploy/kubernetes, with secrets as an operator fills them in. Read only.

    Skips the test, with its reason, where there is no kubectl.
    """
    binary = shutil.which("kubectl", path=sysconfig.get_path("scripts"))
    if binary is None:
        pytest.skip("kubectl is not installed: its package has no build for this platform")
    with TemporaryDirectory() as folder:
        copy = shutil.copytree(MANIFESTS, Path(folder) / "deploy" / "kubernetes")
        (copy_example,) = re.findall(r"(?m)^cp -r deploy/kubernetes/\S+ deploy/kubernetes/\S+$", PAGE.read_text())
        subprocess.run(copy_example.split(), cwd=folder, check=True)
        switch_components_on(copy / MINE)
        for example in copy.rglob("*secrets.env.example"):
            example.with_suffix("").write_text(filled_in(example.read_text()))
        done = subprocess.run([binary, "kustomize", str(copy / kustomization)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns"
    return tuple(yaml.safe_load_all(done.stdout))


def switch_components_on(folder: Path) -> None:
    """As docs/kubernetes.md tells: takes the # away before `components` and before each of them, and adds the CA."""
    file = folder / "kustomization.yaml"
    text, count = re.subn(r"(?m)^#(components:$|  - components/)", r"\1", file.read_text())
    assert count > 1
    file.write_text(text)
    (folder / "components" / "redis-tls" / "ca.pem").write_text("the CA of Redis")


def filled_in(example: str) -> str:
    """A secrets.env.example with values as an operator would give them."""
    return re.sub(r"(?m)^(\w+)=$", lambda line: f"{line[1]}={_SECRETS[line[1]]}", example)


def of_kind(kustomization: str, kind: str) -> list[Resource]:
    return [resource for resource in built(kustomization) if resource["kind"] == kind]


def name_of(resource: Resource) -> str:
    return str(resource["metadata"]["name"])


def component_of(deployment: Resource) -> str:
    """`api`, `cpu-worker` or `gpu-worker`; empty for a server that is not ours."""
    return str(labels_of(deployment).get("app.kubernetes.io/component", ""))


def labels_of(deployment: Resource) -> dict[str, str]:
    """Those of its pods."""
    return dict(deployment["spec"]["template"]["metadata"]["labels"])


def pod_of(deployment: Resource) -> Resource:
    return dict(deployment["spec"]["template"]["spec"])


def container_of(deployment: Resource) -> Resource:
    (container,) = pod_of(deployment)["containers"]
    return dict(container)


def ours(kustomization: str) -> list[Resource]:
    """The Deployments that run Longtake."""
    return [deployment for deployment in of_kind(kustomization, "Deployment") if component_of(deployment)]


def probes_of(container: Resource) -> Iterator[Resource]:
    yield from (probe for name, probe in container.items() if name.endswith("Probe"))


def environment_of(kustomization: str, deployment: Resource) -> dict[str, str]:
    """The variables of a Deployment's container. Of base and gpu-worker, without the secrets that they do not have."""
    container = container_of(deployment)
    found: dict[str, str] = {}
    for source in container.get("envFrom", ()):
        (reference,) = source.values()
        for resource in built(kustomization):
            if resource["kind"] in {"ConfigMap", "Secret"} and name_of(resource) == reference["name"]:
                found |= _values_of(resource)
    return found | {entry["name"]: _value_of(entry, deployment) for entry in container.get("env", ())}


def _values_of(resource: Resource) -> dict[str, str]:
    data: dict[str, str] = resource["data"]
    decode = resource["kind"] == "Secret"
    return {name: b64decode(value).decode() if decode else value for name, value in data.items()}


def _value_of(entry: Resource, deployment: Resource) -> str:
    if "value" in entry:
        return str(entry["value"])
    field = re.fullmatch(r"metadata\.labels\['(.+)'\]", entry["valueFrom"]["fieldRef"]["fieldPath"])
    assert field is not None, entry
    return labels_of(deployment)[field[1]]


def command_of(kustomization: str, deployment: Resource) -> list[str]:
    """The command of its container, with `$(NAME)` put in as Kubernetes does. Raises KeyError for an unknown name."""
    variables = environment_of(kustomization, deployment)
    return [
        re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], word) for word in container_of(deployment)["command"]
    ]


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector takes an object with these labels (matchLabels, and matchExpressions of `In`)."""
    asked = [(key, [value]) for key, value in selector.get("matchLabels", {}).items()]
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In", expression
        asked.append((expression["key"], expression["values"]))
    return all(labels.get(key) in values for key, values in asked)


def bytes_of(quantity: str) -> int:
    """A quantity of memory or disk such as 12Gi."""
    return int(quantity[:-2]) * _UNITS[quantity[-2:]]
