"""Our networks at full size have exactly the published names and shapes, and the refiner's names map as published.

`*_keys.txt.xz` list the published checkpoints' keys, made from the reference implementation's own classes: a name and
its shape per line (3407), a name of the refiner's file and diffusers' name for it (1480).
"""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from core.model.convert.expected import UNUSED_TEXT_TOWER, expected_streaming, refiner_table, vae_shapes
from core.model.convert.infer_sizes import refiner_sizes, streaming_sizes
from core.model.convert.lazy_tensor import Shape
from core.model.convert.sizes import StreamingSizes, unet_config

FOLDER = Path(__file__).parent


def read_lines(name: str) -> dict[str, str]:
    text = lzma.decompress((FOLDER / f"{name}.txt.xz").read_bytes()).decode()
    return dict((key, value) for key, _, value in (line.partition(" ") for line in text.splitlines()))


@pytest.fixture(scope="module")
def official() -> dict[str, Shape]:
    """Every key of streaming_t2v.ckpt."""
    lines = read_lines("streaming_t2v_keys")
    return {name: tuple(int(size) for size in shape.split(",") if size) for name, shape in lines.items()}


def test_the_lists_are_whole(official: dict[str, Shape]) -> None:
    assert len(official) == 3407
    assert len(read_lines("refiner_keys")) == 1480


def test_every_official_key_has_our_networks_shape(official: dict[str, Shape]) -> None:
    ours = expected_streaming(StreamingSizes())
    known = {**ours.required, **ours.optional}

    assert {name: known.get(name) for name in official} == official


def test_our_networks_need_no_key_that_is_not_official(official: dict[str, Shape]) -> None:
    assert set(expected_streaming(StreamingSizes()).required) <= set(official)


def test_what_is_not_needed_is_the_dead_text_tower(official: dict[str, Shape]) -> None:
    unused = set(official) - set(expected_streaming(StreamingSizes()).required)

    assert len(unused) == 6
    assert all(name.startswith(UNUSED_TEXT_TOWER) and "visual" not in name for name in unused)


def test_the_published_sizes_are_inferred_from_the_official_shapes(official: dict[str, Shape]) -> None:
    assert streaming_sizes(official) == StreamingSizes()


@pytest.mark.parametrize("prefix", ["base_model.", "unet.", "resampler.", "vae.", "text_encoder.", "image_encoder."])
def test_one_missing_weight_does_not_change_the_inferred_sizes(official: dict[str, Shape], prefix: str) -> None:
    names = [name for name in official if name.startswith(prefix)]
    for lost in (*names[:3], *names[-3:]):
        assert streaming_sizes({name: shape for name, shape in official.items() if name != lost}) == StreamingSizes()


def test_every_refiner_name_maps_as_published() -> None:
    table = refiner_table(unet_config())

    assert {name: entry.name for name, entry in table.items()} == read_lines("refiner_keys")


def test_the_refiners_temporal_projections_are_convolutions_in_its_file() -> None:
    changed = [entry for entry in refiner_table(unet_config()).values() if entry.shape != entry.shape_in_file]

    assert len(changed) == 34
    assert all(entry.shape_in_file == (*entry.shape, 1) for entry in changed)


def test_the_refiners_sizes_are_inferred_from_its_shapes() -> None:
    shapes = {name: entry.shape_in_file for name, entry in refiner_table(unet_config()).items()}

    assert refiner_sizes(shapes) == unet_config()


def test_the_autoencoder_has_as_many_weights_as_published() -> None:
    assert len(vae_shapes(StreamingSizes().vae)) == 248
