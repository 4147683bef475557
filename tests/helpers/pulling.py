"""A preset that is pulled from a Hub on loopback: the repositories that it needs, and what a pull leaves."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import safe_open

from core.model.convert.summary import Report, no_report
from core.model.hub.pinned_files import lock_file
from core.model.hub.pull import pull
from core.model.hub.repository import HuggingFaceHub
from core.service.admission.catalog import Catalog, PresetFolder
from core.service.settings import Settings
from tests.helpers.hub_repositories import (
    write_base_repository,
    write_checkpoint_repository,
    write_downloaded_preset,
    write_refiner_repository,
)
from tests.helpers.hub_server import Hub, running_hub

CHECKPOINT, BASE = "PAIR/StreamingT2V", "ali-vilab/text-to-video-ms-1.7b"
REFINER = "ali-vilab/MS-Vid2Vid-XL"


def write_repositories(folder: Path) -> Path:
    """Those that the preset needs, and its refiner's."""
    write_checkpoint_repository(folder / CHECKPOINT)
    write_base_repository(folder / BASE)
    write_refiner_repository(folder / REFINER)
    return folder


@contextmanager
def hub_of(repositories: Path) -> Generator[Hub]:
    """A Hub with both repositories that the preset needs."""
    with running_hub() as hub:
        hub.publish(CHECKPOINT, repositories / CHECKPOINT)
        hub.publish(BASE, repositories / BASE)
        yield hub


def preset_below(folder: Path) -> PresetFolder:
    """The preset in `folder`/presets; its weights go to `folder`/weights."""
    write_downloaded_preset(folder / "presets")
    settings = Settings(presets_dir=folder / "presets", weights_dir=folder / "weights")
    return Catalog(settings).get("modelscope")


def pull_from(hub: Hub, preset: PresetFolder, report: Report = no_report, **options: Any) -> Path:
    return pull(preset, report=report, hub=HuggingFaceHub(hub.url), **options)


def stored_dtype(folder: Path) -> str:
    """Of a network's weights, as safetensors names it."""
    with safe_open(folder / "model.safetensors", framework="pt") as content:
        return str(content.get_slice("conv_in.weight").get_dtype())


def pins(preset: PresetFolder) -> dict[str, Any]:
    """The content of the lock file."""
    content: dict[str, Any] = json.loads(lock_file(preset).read_text())
    return content
