"""torchvision stays an extra: nothing else brings it, as one that does not fit torch breaks the whole model half."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from setup.environment import EXTRAS

BRING_IT = {"raft", "lpips"}


def optional(repository: Path) -> dict[str, list[Requirement]]:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = {**project["optional-dependencies"], "": project["dependencies"]}
    return {extra: [Requirement(line) for line in lines] for extra, lines in extras.items()}


def with_their_own(wanted: Iterable[Requirement]) -> set[str]:
    """Names of requirements and of all that they require, as far as they are installed here."""
    names: set[str] = set()
    waiting = [(one, "") for one in wanted]
    while waiting:
        requirement, of_extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": of_extra}):
            continue
        name = canonicalize_name(requirement.name)
        if name in names:
            continue
        names.add(name)
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [(Requirement(line), extra) for line in lines for extra in ("", *requirement.extras)]
    return names


def test_only_the_extras_of_its_own_metrics_bring_torchvision(repository: Path) -> None:
    brought = {extra for extra, wanted in optional(repository).items() if "torchvision" in with_their_own(wanted)}
    assert brought == BRING_IT
    assert not BRING_IT & set(EXTRAS), "a checkout is set up with these"


def test_its_version_is_the_one_of_torch(repository: Path) -> None:
    extras = optional(repository)
    (torch,) = [one for one in extras["model"] if one.name == "torch"]
    _, minor, patch = str(torch.specifier).removeprefix("==").split(".")
    for extra in BRING_IT:
        (torchvision,) = [one for one in extras[extra] if one.name == "torchvision"]
        # torchvision 0.15 went with torch 2.0, and both have counted up together since.
        assert str(torchvision.specifier) == f"==0.{int(minor) + 15}.{patch}"


def test_images_do_not_have_it(repository: Path) -> None:
    files = [*(repository / "requirements").glob("*.txt"), repository / "Dockerfile.gpu"]
    assert len(files) > 1
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not {"torchvision", "lpips"} & {word.partition("==")[0] for word in text.split()}, file.name
