"""Probes of anchor embeddings: they read what is there, nothing that is not, and write a report."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core.model.evaluation.command import main
from core.model.evaluation.metrics.linear_probe import LinearProbe, correlations, right_classes
from core.model.evaluation.reports.anchor_probes import CLASSES, SURFACE, probe, surfaces
from core.model.training.sprites import world
from core.model.training.sprites.scene_sampling import sample_scene
from tests.helpers.random_preset import write_random_preset


def colours(pictures: Tensor) -> Tensor:
    """An encoder that sees the mean colour alone."""
    return pictures.mean(dim=(2, 3))


def test_what_an_embedding_contains_is_read_and_the_rest_is_at_chance() -> None:
    probed = {one.row.name: one for one in probe(colours, fitted=400, tested=200)}
    assert set(probed) == {*CLASSES, SURFACE}
    assert probed["colour"].is_read
    assert probed["colour"].row.value > 0.9
    assert 0.2 < probed["colour"].chance < 0.4
    assert not probed["texture: which of three"].is_read
    assert not probed["texture: phase in the first or second half"].is_read


def test_an_embedding_that_never_changes_tells_nothing() -> None:
    for one in probe(lambda pictures: torch.ones(len(pictures), 4), fitted=60, tested=40):
        assert one.row.value == pytest.approx(one.chance)
        assert not one.is_read


def test_an_encoder_that_sees_the_objects_middle_reads_its_surface() -> None:
    def middles(pictures: Tensor) -> Tensor:
        """Brightness around each object's centre, which is where most saturated pixels are."""
        saturation = pictures.amax(1) - pictures.amin(1)
        weights = (saturation > 0.3).float()
        grid = torch.arange(64.0)
        rows = (weights.sum(2) @ grid / weights.sum((1, 2))).round().long()
        columns = (weights.sum(1) @ grid / weights.sum((1, 2))).round().long()
        parts = [
            picture.roll((32 - int(row), 32 - int(column)), (1, 2))[:, 26:38, 26:38]
            for picture, row, column in zip(pictures, rows, columns, strict=True)
        ]
        sums = torch.stack(parts).add(1).sum(1, keepdim=True)
        return functional.avg_pool2d(sums / sums.mean((2, 3), keepdim=True), 2).flatten(1)

    (surface,) = (one for one in probe(middles, fitted=300, tested=100) if one.row.name == SURFACE)
    assert surface.is_read
    assert surface.row.value > 0.4


def test_a_surface_is_that_of_the_object_wherever_it_is_and_whatever_its_colour() -> None:
    scene = sample_scene(np.random.default_rng(0), two_sprites_share=0.0)
    (sprite,) = scene.sprites
    moved = replace(scene, sprites=(replace(sprite, x=sprite.x + 7, y=3.0, colour="blue"),))
    shifted = replace(scene, sprites=(replace(sprite, texture_phase=sprite.texture_phase + np.pi),))
    own, same, other = surfaces([scene, moved, shifted])
    assert own == pytest.approx(same, abs=0.1)
    assert np.abs(own).max() <= 1.1
    assert np.abs(own - other).max() > 0.5


def test_surfaces_lie_inside_every_shape() -> None:
    scenes = [sample_scene(np.random.default_rng(index), two_sprites_share=0.0) for index in range(60)]
    assert {scene.sprites[0].shape for scene in scenes} == set(world.SHAPES)
    assert np.abs(surfaces(scenes)).max() <= 1.1, "beside the object it would be the grey of the background"


def test_a_probe_finds_a_linear_relation() -> None:
    rng = np.random.default_rng(0)
    embeddings = rng.normal(3, 5, (200, 6))
    outputs = embeddings @ rng.normal(size=(6, 2)) + 7
    found = LinearProbe.fit(embeddings[:150], outputs[:150])(embeddings[150:])
    assert found == pytest.approx(outputs[150:], abs=0.2)


def test_classes_are_read_on_new_data_only_if_they_can_be() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=400)
    telling = np.eye(3)[labels] + 0.1 * rng.normal(size=(400, 3))
    silent = rng.normal(size=(400, 3))
    assert right_classes(telling[:200], labels[:200], telling[200:], labels[200:]).mean() > 0.95
    assert right_classes(silent[:200], labels[:200], silent[200:], labels[200:]).mean() < 0.5


def test_a_constant_prediction_has_no_correlation() -> None:
    true = np.array([[1.0, 2.0, 3.0]] * 3)
    predicted = np.array([[2.0, 4.0, 6.0], [5.0, 5.0, 5.0], [3.0, 2.0, 1.0]])
    assert correlations(predicted, true).tolist() == pytest.approx([1, 0, -1])


def test_a_preset_is_probed_and_the_report_written(tmp_path: Path) -> None:
    preset = write_random_preset(tmp_path / "toy", num_inference_steps=1)
    sizes = ["--prompts", "20", "--threads", "1", "--out", str(tmp_path)]
    assert main(["--suite", "anchor", "--preset", str(preset), *sizes]) == 0
    content = json.loads((tmp_path / "toy-anchor" / "report.json").read_text())
    assert [row["name"] for row in content["rows"]] == [*CLASSES, SURFACE]
    assert all(row["count"] == 20 for row in content["rows"])
    assert "| colour |" in (tmp_path / "toy-anchor" / "report.md").read_text()
    assert (tmp_path / "toy-anchor" / "report.png").stat().st_size > 1000


def test_a_working_folder_without_an_encoder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--suite", "anchor", "--work", str(tmp_path), "--smoke"]) == 2
    assert "train the stage 'clip' first" in capsys.readouterr().err
