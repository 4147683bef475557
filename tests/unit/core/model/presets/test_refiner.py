"""A preset's refiner is found, loaded and refused by its folder."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from core.model.presets import load_refiner
from core.model.presets.facts import read_preset
from core.model.presets.random import write_random_preset
from core.service.errors import PresetError
from core.service.refine_engine import RefineState
from core.service.schema import RefineSpec
from tests.helpers.jobs import job_spec
from tests.helpers.presets import change_facts

SPEC = job_spec(
    num_frames=16,
    refine=RefineSpec(
        strength=0.6, num_inference_steps=1, guidance_scale=2.0, height=128, width=128, schedule="streaming"
    ),
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_preset(tmp_path_factory.mktemp("presets") / "toy")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "toy"))


def test_a_refiner_shares_text_encoder_and_autoencoder_with_its_preset(sound: Path) -> None:
    refiner = load_refiner(sound, device="cpu", torch_threads=1)

    frames = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
    refined = refiner.refine_window(SPEC, RefineState(), frames, lambda _step, _steps: None)

    assert refined.frames.shape == (16, 128, 128, 3)
    assert refined.state.done == 1


def test_a_refiner_may_bring_its_own_autoencoder(folder: Path) -> None:
    shutil.copytree(folder / "vae", folder / "refiner" / "vae")
    own = load_refiner(folder, device="cpu", torch_threads=1)
    (folder / "refiner" / "vae" / "model.safetensors").unlink()

    with pytest.raises(PresetError, match="refiner/vae"):
        load_refiner(folder, device="cpu", torch_threads=1)
    assert own.fingerprint


def test_a_preset_without_refiner_says_so(folder: Path) -> None:
    change_facts(folder, refiner=None)

    with pytest.raises(PresetError, match="names no refiner"):
        load_refiner(folder, device="cpu", torch_threads=1)


@pytest.mark.parametrize(
    ("changes", "prediction", "last_sigma"),
    [({}, "v_prediction", 1.0), ({"scheduler": {"prediction_type": "epsilon"}}, "epsilon", 0.99998)],
)
def test_noise_levels_are_the_published_refiners_or_a_schedulers(
    folder: Path, changes: dict[str, object], prediction: str, last_sigma: float
) -> None:

    facts = read_preset(folder).refiner
    assert facts is not None
    laws = facts.model_copy(update=changes).laws()

    assert laws.prediction == prediction
    assert float(laws.sigmas_T[-1]) == pytest.approx(last_sigma, abs=1e-4)
