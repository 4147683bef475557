"""Pulling the refiner of an installed preset from a Hub on loopback. With the preset: see test_hub_processes.py."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.model.checksums import verify_sums
from core.model.presets.fingerprint import weights_digest
from core.model.refinement.loading import load_refiner
from core.service.admission.catalog import PresetFolder
from core.service.domain.engine import FramesTHWC
from core.service.domain.errors import CheckpointMismatch, HubFileMissing
from core.service.domain.refiner import RefineState
from core.service.domain.schema import RefineSpec
from tests.helpers.hub_repositories import write_refiner_repository
from tests.helpers.hub_server import Hub
from tests.helpers.jobs import job_spec
from tests.helpers.pulling import (
    BASE,
    CHECKPOINT,
    REFINER,
    pins,
    pull_from,
    stored_dtype,
)


def test_a_refiner_is_added_to_an_installed_preset_and_refines(
    hub: Hub, preset: PresetFolder, repositories: Path
) -> None:
    hub.publish(REFINER, repositories / REFINER)
    weights = pull_from(hub, preset, dtype="bfloat16")
    before = weights_digest(weights)
    hub.served.clear()
    assert not preset.refines

    pull_from(hub, preset, refiner=True)

    assert preset.refines
    assert [entry.path for entry in hub.served] == sorted(path.name for path in (repositories / REFINER).iterdir())
    assert stored_dtype(weights / "refiner" / "unet") == "BF16"  # as the rest
    assert set(pins(preset)["repositories"]) == {CHECKPOINT, BASE, REFINER}
    assert verify_sums(weights) > 18
    assert weights_digest(weights) == before  # chunks do not depend on it
    assert refined_frames(preset).std() > 1


def refined_frames(preset: PresetFolder) -> FramesTHWC:
    """One window through the installed refiner, its prompt read with the suffix."""
    refiner = load_refiner(preset.path, weights=preset.weights, device="cpu", torch_threads=1)
    asked = RefineSpec(
        strength=0.6, num_inference_steps=2, guidance_scale=2.0, height=64, width=64, schedule="streaming"
    )
    spec = job_spec(prompt="red cat", model="modelscope", num_frames=16, refine=asked)
    frames = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    return refiner.refine_window(spec, RefineState(), frames, lambda _step, _steps: None).frames


def test_a_refiner_that_cannot_be_converted_leaves_the_preset_as_it_was(
    hub: Hub, preset: PresetFolder, tmp_path: Path
) -> None:
    weights, mixed_up = pull_from(hub, preset), write_refiner_repository(tmp_path / "refiner")
    shutil.copy(mixed_up / "open_clip_pytorch_model.bin", mixed_up / "v2-1_512-ema-pruned.ckpt")
    hub.publish(REFINER, mixed_up)
    before = sorted(weights.rglob("*"))

    with pytest.raises(CheckpointMismatch):
        pull_from(hub, preset, refiner=True)

    assert sorted(weights.rglob("*")) == before
    assert preset.installed
    assert not preset.refines


def test_a_wrong_name_is_noticed_before_anything_is_downloaded(hub: Hub, preset: PresetFolder) -> None:
    file = preset.path / "preset.json"
    content: dict[str, Any] = json.loads(file.read_text())
    content["download"]["refiner"] = {"repository": "no/where", "revision": "main", "files": ["a", "b", "c"]}
    file.write_text(json.dumps(content))

    with pytest.raises(HubFileMissing, match="no repository no/where"):
        pull_from(hub, preset, refiner=True)

    assert hub.served == []
