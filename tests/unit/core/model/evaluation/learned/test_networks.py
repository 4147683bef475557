"""Networks that are asked for are loaded once; one that cannot be loaded is left out, and the reader is told why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.metrics.video.metric import measure
from core.model.evaluation.learned.facts import LEARNED_FACTS
from core.model.evaluation.learned.networks import Networks, learned_metrics, load_networks
from core.service.settings import SHIPPED_PRESETS_DIR
from tests.unit.core.model.evaluation.learned.conftest import random_video


@pytest.fixture
def networks(clip_folder: Path) -> Networks:
    return load_networks(clip=str(clip_folder), tower=SHIPPED_PRESETS_DIR / "sprites", device="cpu")


def test_values_of_different_models_have_different_names(networks: Networks) -> None:
    frames = random_video(16, 64, 64)
    values = measure(frames, learned_metrics(networks, "a red circle")).values
    assert {name.partition("_")[0] for name in values} == set(networks.models) == {"clip", "tower"}
    assert set(values) <= set(LEARNED_FACTS)


def test_the_result_names_its_models(networks: Networks) -> None:
    notes = measure(random_video(16, 64, 64), learned_metrics(networks, "a red circle")).notes
    assert networks.notes == []
    for name in networks.models.values():
        assert any(name in note for note in notes)


def test_two_videos_do_not_mix(networks: Networks) -> None:
    first, second = random_video(16, 64, 64), random_video(16, 64, 64, seed=1)
    alone = measure(second, learned_metrics(networks, "a red circle"))
    measure(first, learned_metrics(networks, "a red circle"))
    assert measure(second, learned_metrics(networks, "a red circle")) == alone


def test_what_is_not_asked_for_is_not_missed() -> None:
    networks = load_networks()
    assert networks == Networks(notes=[])
    assert learned_metrics(networks, "a red circle") == []
    assert networks.models == {}


def test_what_cannot_be_loaded_is_left_out_with_the_fix(
    clip_folder: Path, tmp_path: Path, uninstall: Callable[[str], None]
) -> None:
    uninstall("lpips")
    networks = load_networks(clip=str(tmp_path / "nowhere"), tower=tmp_path / "no-preset", lpips=True, device="cpu")
    assert networks.models == {}
    clip, tower, lpips = networks.notes
    assert clip.startswith(f"CLIP score and CLIP-I are not measured: there is no folder {tmp_path / 'nowhere'} (")
    assert "config.json, model.safetensors" in clip
    assert tower.startswith("The own tower's score is not measured: ")
    assert lpips.startswith("LPIPS is not measured: lpips is not installed (pip install 'longtake[lpips]'")
    assert load_networks(clip=str(clip_folder), device="cpu").models.keys() == {"clip"}, "the others go on"
