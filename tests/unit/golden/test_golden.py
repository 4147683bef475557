"""The runner of golden numbers: it takes sizes and constants from the files and detects damaged ones."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.model.networks.picture_preprocessing import CLIP_MEAN, CLIP_STD, preprocess_picture
from tests.golden.__main__ import main
from tests.golden.folder import GoldenFolder
from tests.golden.rounding import THREAD_COUNTS, rounds_as_published, threads
from tests.golden.synthetic import SyntheticNetwork, write_loop_stem, write_network_stem, write_stem

REFERENCES = Path(__file__).parents[2] / "references"


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of other sizes, lengths, timesteps and constants than the published one, with random weights."""
    folder = tmp_path_factory.mktemp("golden")
    network = SyntheticNetwork.of(seed=3)
    with threads(THREAD_COUNTS[0]):
        text = write_network_stem(folder, network)["in.text_states"]
        write_loop_stem(folder, network, text[:2])
    return folder


@pytest.fixture
def copy(synthetic: Path, tmp_path: Path) -> Path:
    """A copy to spoil; the loop's stem, which takes longest, is left out."""
    for file in synthetic.glob("cam_apm_unet*"):
        shutil.copy(file, tmp_path)
    return tmp_path


def spoil(file: Path, tensor: str, difference: float) -> None:
    """Add to one number of a stored tensor."""
    tensors = load_file(file)
    tensors[tensor].view(-1)[5] += difference
    save_file(tensors, file)


def verdicts(output: str) -> dict[str, str]:
    """Verdict per tensor, from the printed table."""
    lines = [line.split() for line in output.splitlines() if line.startswith(("cam_apm_unet", "chunk_loop", "apm_"))]
    return {words[1]: "FAIL" if "FAIL" in words else "ok" for words in lines}


def test_the_weights_rule_gives_the_published_bits() -> None:
    weights = GoldenFolder(REFERENCES).network_weights()

    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].numpy().tobytes())

    assert digest.hexdigest() == "bbebcc6e6847839ccf2de40101265762b63b48a23ab0f3091e4cf0ed6dff9637"


def test_the_published_numbers_are_met(capsys: pytest.CaptureFixture[str]) -> None:
    if not rounds_as_published():
        pytest.skip("this processor rounds differently from the one that made the numbers (tests/references/README.md)")

    assert main([str(REFERENCES)]) == 0, capsys.readouterr().out


def test_other_sizes_lengths_and_constants_are_taken_from_the_files(
    synthetic: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(synthetic)]) == 0, capsys.readouterr().out

    found = verdicts(capsys.readouterr().out)
    assert {"out.noise_pred_cam_apm", "out.chunk3.latents_after_step", "draw.chunk2.variance_noise"} <= found.keys()


def test_a_number_over_its_tolerance_fails(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    over = {"out.noise_pred_cam_apm": 2e-4, "out.noise_pred_apm_only": float("nan"), "out.cam_mid": 2e-3}
    within = {"out.noise_pred_plain": 5e-5, "out.merged_skip.1": 5e-4}
    for tensor, difference in {**over, **within}.items():
        spoil(copy / "cam_apm_unet.io.safetensors", tensor, difference)

    assert main([str(copy)]) == 1
    assert {name for name, verdict in verdicts(capsys.readouterr().out).items() if verdict == "FAIL"} == over.keys()


def test_another_weight_fails(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(copy / "cam_apm_unet.weights.safetensors", "base_model.conv_in.weight", 0.05)

    assert main([str(copy)]) == 1
    assert verdicts(capsys.readouterr().out)["out.noise_pred_plain"] == "FAIL"


def run_preprocessing(folder: Path) -> int:
    """The runner over a folder of the quickest stem."""
    for file in REFERENCES.glob("apm_preprocess.*"):
        if not (folder / file.name).exists():
            shutil.copy(file, folder)
    return main([str(folder)])


def test_an_unknown_stem_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "riddle.json").write_text("{}")

    assert run_preprocessing(tmp_path) == 1
    assert "unknown stem" in capsys.readouterr().out


def mawe_folder(folder: Path, tensor: str, factor: float) -> Path:
    """The stem of MAWE, one stored tensor multiplied."""
    shutil.copy(REFERENCES / "mawe_warp.json", folder)
    tensors = load_file(REFERENCES / "mawe_warp.safetensors")
    save_file({**tensors, tensor: tensors[tensor] * factor}, folder / "mawe_warp.safetensors")
    return folder


@pytest.mark.parametrize(("factor", "verdict"), [(1 + 5e-6, "ok"), (1 + 2e-5, "FAIL")])
def test_a_relative_tolerance_is_relative_to_the_stored_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float, verdict: str
) -> None:
    assert main([str(mawe_folder(tmp_path, "out.pair_warp_error", factor))]) == (verdict == "FAIL")
    line = next(line for line in capsys.readouterr().out.splitlines() if "out.pair_warp_error" in line)
    assert f"1e-05 rel  {verdict}" in line


def test_another_motion_fails_what_is_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(mawe_folder(tmp_path, "in.flows", 1.1))]) == 1
    failed = {
        line.split()[1] for line in capsys.readouterr().out.splitlines() if line.endswith("FAIL") or "FAIL " in line
    }
    assert {"out.warped", "out.hole_mask", "out.mawe", "paper_style_value"} <= failed


def test_an_output_that_nothing_computes_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = load_file(REFERENCES / "apm_preprocess.safetensors")
    save_file({**stored, "out.riddle": torch.zeros(1)}, tmp_path / "apm_preprocess.safetensors")

    assert run_preprocessing(tmp_path) == 1
    assert "out.riddle" in capsys.readouterr().out


def test_a_formula_picture_of_another_size_and_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = torch.arange(96, dtype=torch.float64).view(1, 96, 1).expand(3, 96, 96)
    prepared = preprocess_picture(torch.cos(0.2 * rows - 1).float().unsqueeze(0), 40)[0]
    outputs = {"out.preprocessed_stride5": prepared[:, ::5, ::5], "out.zero_image_rgb": -torch.tensor(CLIP_MEAN)}
    outputs["out.zero_image_rgb"] = (0.5 + outputs["out.zero_image_rgb"]) / torch.tensor(CLIP_STD)
    formula = "x[c,i,j] = cos(0.2*i - 1) computed in float64 then cast to float32; i row, j column, 0..95; c 0..2"
    write_stem(tmp_path, "apm_preprocess", outputs, {"input_formula": formula, "tolerance": "1e-6"})

    assert main([str(tmp_path)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{broken"])
def test_a_damaged_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    (tmp_path / "apm_preprocess.safetensors").write_bytes(content)

    assert run_preprocessing(tmp_path) == 1
    assert "apm_preprocess.safetensors is damaged" in capsys.readouterr().out


def test_a_missing_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(REFERENCES / "apm_preprocess.json", tmp_path)

    assert main([str(tmp_path)]) == 1
    assert "apm_preprocess.safetensors is missing" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_damaged_sidecar_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (tmp_path / "apm_preprocess.json").write_text(content)

    assert run_preprocessing(tmp_path) == 1
    assert "apm_preprocess.json is damaged" in capsys.readouterr().out


def test_missing_weights_are_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copy / "cam_apm_unet.weights.safetensors").unlink()

    assert main([str(copy)]) == 1
    assert "neither cam_apm_unet.weights.safetensors nor weights_rule.json" in capsys.readouterr().out


def test_inputs_that_do_not_fit_the_network_are_reported(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = copy / "cam_apm_unet.io.safetensors"
    tensors = load_file(file)
    sidecar = json.loads((copy / "cam_apm_unet.json").read_text())
    sidecar["tensors"]["in.latents"]["shape"][1] = 3
    (copy / "cam_apm_unet.json").write_text(json.dumps(sidecar))
    save_file({**tensors, "in.latents": tensors["in.latents"][:, :3].contiguous()}, file)

    assert main([str(copy)]) == 1
    assert "do not fit together" in capsys.readouterr().out


def test_checksums_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  apm_preprocess.json\n{'0' * 64}  lost.json\n")

    assert run_preprocessing(tmp_path) == 1
    assert "apm_preprocess.json, lost.json" in capsys.readouterr().err


def test_a_folder_without_numbers_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert main([str(tmp_path / "nowhere")]) == 1
    assert "nowhere is no folder" in capsys.readouterr().err


def test_a_sidecar_without_a_constant_names_it(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sidecar = json.loads((copy / "cam_apm_unet.json").read_text())
    del sidecar["config"]["merger_head_dim"]
    (copy / "cam_apm_unet.json").write_text(json.dumps(sidecar))

    assert main([str(copy)]) == 1
    assert "merger_head_dim" in capsys.readouterr().out
