"""The shipped presets of the Hub's pipelines at tiny sizes, and repositories of random weights by the real names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.model.convert.summary import no_report
from core.model.hub.pull import pull
from core.model.hub.repository import HuggingFaceHub
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.engines.preset import PipelineDownload
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.helpers.hub_server import Hub
from tests.helpers.pipeline_repositories import write_repository

STEPS = 2


@dataclass(frozen=True)
class TinyModel:
    """How a shipped preset becomes tiny."""

    write: Callable[[Path], object]
    """Writes a weights folder with all parts, optional ones too."""
    keys: Mapping[str, Any]
    """Keys of preset.json that differ from the shipped ones."""
    fields: Mapping[str, Any] = field(default_factory=lambda: {})
    """What a request has beside prompt, seed and length. "IMAGE" and "VIDEO" stand for input media."""


def shipped_content(name: str) -> dict[str, Any]:
    """The shipped preset.json."""
    content: dict[str, Any] = json.loads((SHIPPED_PRESETS_DIR / name / "preset.json").read_text())
    return content


def shipped_pipelines() -> set[str]:
    """Names of the shipped presets whose weights are files of diffusers repositories."""
    names = {file.parent.name for file in SHIPPED_PRESETS_DIR.glob("*/preset.json")}
    return {name for name in names if shipped_content(name).get("download", {}).get("kind") == "pipeline"}


def write_hub_preset(presets_dir: Path, name: str, model: TinyModel) -> None:
    """The preset's folder, with the shipped preset's download and the keys of `model`."""
    (presets_dir / name).mkdir(parents=True)
    content = {**shipped_content(name), "negative_prompt": "", "num_inference_steps": STEPS, **model.keys}
    (presets_dir / name / "preset.json").write_text(json.dumps(content))


def publish(hub: Hub, preset: PresetFolder, model: TinyModel, folder: Path) -> list[str]:
    """Publish every repository that the preset names; the names of its optional parts."""
    download = preset.preset.download
    assert isinstance(download, PipelineDownload)
    model.write(folder / "weights")
    sources = (*download.repositories, *download.optional.values())
    for source in sources:
        write_repository(folder / source.repository, source, folder / "weights" / source.into)
    for source in sources:
        hub.publish(source.repository, folder / source.repository)
        revisions = hub.revisions[source.repository]
        revisions[source.revision] = revisions["main"]
    return list(download.optional)


def pull_all(hub: Hub, catalog: Catalog, models: Mapping[str, TinyModel], folder: Path) -> None:
    """Publish and install models with all their parts."""
    for name, model in models.items():
        preset = catalog.get(name)
        parts = publish(hub, preset, model, folder / name)
        pull(preset, report=no_report, hub=HuggingFaceHub(hub.url), parts=parts)
