"""Loading image-to-video models: sizes that the networks take, half-precision files, safetensors only."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from core.model.engines.svd.loading import load_engine_of
from core.model.pipelines.image_video_loading import check_size
from core.model.pipelines.loading import Placement, placement_of, variant_in
from core.service.domain.engine import unannounced
from core.service.domain.errors import PresetError
from core.service.engines.capabilities import SizeRule
from tests.helpers.image_video import context_of

CPU, GPU = Placement(torch.device("cpu")), Placement(torch.device("cuda"))


@pytest.fixture
def halves(svd: Path, tmp_path: Path) -> Path:
    """The weights have the names of half-precision files, as in some repositories."""
    folder = tmp_path / "toy-svd"
    shutil.copytree(svd, folder)
    for file in folder.glob("*/*.safetensors"):
        file.rename(file.with_suffix(".fp16.safetensors"))
    return folder


@pytest.mark.parametrize(
    ("size", "nearest"), [((570, 1000), "1024 and 576"), ((576, 1000), "1024 and 576"), ((16, 24), "64 and 64")]
)
def test_a_size_that_the_networks_cannot_take_is_refused_with_the_nearest(
    svd: Path, size: tuple[int, int], nearest: str
) -> None:
    preset = context_of(svd, height=size[0], width=size[1]).preset

    with pytest.raises(PresetError, match="multiples of 64") as caught:
        check_size(preset, 64)

    assert nearest in str(caught.value.fix)


def test_sizes_of_requests_that_the_networks_cannot_take_are_refused(svd: Path) -> None:
    rule = SizeRule(multiple_of=8, min_side=64, max_side=128, max_pixels=10_000)
    preset = context_of(svd, height=64, width=128, size=rule).preset

    with pytest.raises(PresetError, match=r"size.multiple_of is 8, and its networks need a multiple of 64"):
        check_size(preset, 64)


def test_the_engine_checks_its_preset(svd: Path) -> None:
    with pytest.raises(PresetError, match="multiples of 8, not 20x16"):
        load_engine_of(context_of(svd, width=20))


def test_half_precision_files_are_loaded_on_a_cpu_too(halves: Path) -> None:
    engine = load_engine_of(context_of(halves))

    assert variant_in(halves, CPU) == "fp16"
    assert engine.pipeline.unet.dtype == torch.float32


def test_full_precision_files_are_preferred_on_a_cpu_and_halves_on_a_gpu(svd: Path, halves: Path) -> None:
    for file in svd.glob("*/*.safetensors"):
        shutil.copy(file, halves / file.relative_to(svd))

    assert variant_in(halves, CPU) is None
    assert variant_in(halves, GPU) == "fp16"
    assert variant_in(svd, GPU) is None


@pytest.mark.parametrize("part", ["unet", "vae", "image_encoder"])
def test_a_missing_part_is_a_preset_error(halves: Path, part: str) -> None:
    shutil.rmtree(halves / part)

    with pytest.raises(PresetError, match="the model toy-svd cannot be loaded") as refused:
        load_engine_of(context_of(halves))
    assert refused.value.fix == f"restore the files in {halves}"


def test_weights_that_are_no_safetensors_are_not_read(halves: Path) -> None:
    file = halves / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.bin"))

    with pytest.raises(PresetError, match="the model toy-svd cannot be loaded"):
        load_engine_of(context_of(halves))


def test_the_fingerprint_follows_the_image_model(svd: Path, sdxl: Path) -> None:
    without = load_engine_of(context_of(svd)).fingerprint
    with_one = load_engine_of(context_of(svd, image_model=str(sdxl))).fingerprint

    assert re.sub(r"image model [^;]*; ", "", with_one) == without
    assert f"image model {sdxl} " in with_one


@pytest.mark.parametrize(("offload", "dtype"), [(False, "float16"), (True, "bfloat16"), (False, "float32")])
def test_networks_are_offloaded_only_where_the_preset_says_so(svd: Path, offload: bool, dtype: str) -> None:
    preset = context_of(svd, offload=offload, gpu_dtype=dtype).preset

    placement = placement_of(preset, torch.device("cuda"), unannounced)

    assert placement.offloads is offload
    assert placement.dtype == getattr(torch, dtype)
    assert placement_of(preset, torch.device("cpu"), unannounced).dtype == torch.float32
