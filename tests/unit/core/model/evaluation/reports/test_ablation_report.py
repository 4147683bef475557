"""The comparison of variants: gains paired by seed and video, verdicts, and what is said where nothing is confirmed."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.metrics.bootstrap import Interval
from core.model.evaluation.metrics.measurements import Measured
from core.model.evaluation.reports.ablation_claims import EXPLANATIONS
from core.model.evaluation.reports.ablation_report import (
    ComparedMetric,
    Comparison,
    Expectation,
    VariantResults,
    verdict,
)
from core.model.evaluation.reports.chart import Panel, Point, chart
from core.model.evaluation.suites.ablation_studies import STUDIES
from tests.helpers.figures import PERFECT

CUTS = ComparedMetric("hard cuts", "hard cuts per video", lambda m: None if m.cuts is None else float(m.cuts), "lower")
OBJECTS = ComparedMetric("objects", "right objects", lambda m: m.video.right_objects_at_end)


def with_cuts(*by_video: int | None) -> list[Measured]:
    return [replace(PERFECT, cuts=cuts) for cuts in by_video]


def compared(
    better: Sequence[Sequence[Measured]], worse: Sequence[Sequence[Measured]], metric: ComparedMetric = CUTS
) -> Comparison:
    """`better` and `worse`: videos by seed."""
    variants = {
        name: VariantResults(name, dict(enumerate(by_seed, start=3)), trained_weights=12345, loss=0.25)
        for name, by_seed in (("cam", better), ("concat", worse))
    }
    return Comparison("two", variants, [metric], [Expectation("cam", "concat", metric, "the paper")], notes=["a note"])


MIXED = [with_cuts(0, 2, 1, 0), with_cuts(2, 0, 0, 1), with_cuts(1, 1, 2, 0)]
OTHERS = [with_cuts(1, 0, 0, 2), with_cuts(1, 2, 1, 0), with_cuts(0, 1, 2, 2)]


def test_gains_are_paired_by_seed_and_video_and_lower_is_better_for_cuts() -> None:
    comparison = compared([with_cuts(0, 1), with_cuts(2, 0)], [with_cuts(3, 1), with_cuts(1, 1)])
    assert comparison.gains(comparison.expectations[0]).tolist() == [[3, 0], [-1, 1]]


def test_higher_is_better_for_other_metrics() -> None:
    half = replace(PERFECT, video=replace(PERFECT.video, right_objects_at_end=0.5))
    comparison = compared([[PERFECT]], [[half]], OBJECTS)
    assert comparison.gains(comparison.expectations[0]).tolist() == [[0.5]]


def test_only_seeds_that_both_have_are_compared() -> None:
    comparison = compared([with_cuts(0), with_cuts(0), with_cuts(0)], [with_cuts(1), with_cuts(2)])
    (finding,) = comparison.findings()
    assert (finding.seeds, finding.videos) == (2, 1)
    assert finding.gain is not None
    assert finding.gain.value == 1.5


def test_a_missing_variant_is_not_measured() -> None:
    comparison = compared([with_cuts(0)], [])
    assert [finding.verdict for finding in comparison.findings()] == ["not measured"]
    assert "| not measured | 0 x 0 |" in comparison.text()
    without = replace(comparison, variants={"cam": comparison.variants["cam"]})
    assert [finding.verdict for finding in without.findings()] == ["not measured"]


def test_seeds_that_disagree_are_not_clear_however_many_videos_there_are() -> None:
    better = [with_cuts(*[0] * 200), with_cuts(*[0] * 200), with_cuts(*[2] * 200)]
    comparison = compared(better, [with_cuts(*[1] * 200)] * 3)
    assert comparison.findings()[0].verdict == "not clear"


@pytest.mark.parametrize(
    ("gain", "expected"),
    [(Interval(1, 0.5, 2), "confirmed"), (Interval(-1, -2, -0.5), "reverse"), (Interval(0.2, 0, 1), "not clear")],
)
def test_an_interval_that_excludes_0_decides(gain: Interval, expected: str) -> None:
    assert verdict(gain) == expected


def test_a_confirmed_result_needs_no_explanation() -> None:
    comparison = compared([with_cuts(0, 0, 1, 0, 0, 1)] * 3, [with_cuts(2, 3, 2, 2, 3, 2)] * 3)
    assert [finding.verdict for finding in comparison.findings()] == ["confirmed"]
    assert comparison.explanations() == []
    assert "Possible reason" not in comparison.text()


def test_a_result_that_is_not_clear_has_a_reason_a_test_and_the_size_it_requires() -> None:
    comparison = compared(MIXED, OTHERS)
    text = "\n".join(comparison.explanations())
    assert "cam better than concat, hard cuts per video: not clear" in text
    assert EXPLANATIONS["cam > concat: hard cuts"].why in text
    (finding,) = comparison.findings()
    assert finding.required is not None
    assert finding.required.both is not None
    seeds, videos = finding.required.both
    assert f"or with {seeds} seeds of {videos} videos." in text
    assert seeds > 3
    assert videos > 4


def test_an_effect_that_points_the_other_way_is_called_so() -> None:
    text = "\n".join(compared(OTHERS, MIXED).explanations())
    assert ", which would be the reverse, would exclude 0" in text


def test_for_the_reverse_no_size_is_named() -> None:
    text = "\n".join(compared([with_cuts(2, 3, 2, 2, 3, 2)] * 3, [with_cuts(0, 0, 1, 0, 0, 1)] * 3).explanations())
    assert "More seeds or videos of this budget would only confirm the reverse." in text
    assert "80 %" not in text


def test_of_one_seed_only_the_unknown_variance_of_training_is_said() -> None:
    text = "\n".join(compared(MIXED[:1], OTHERS[1:2]).explanations())
    assert "One seed does not show the variance of training" in text
    assert "80 %" not in text


def test_no_size_follows_from_a_difference_of_0() -> None:
    assert "no size of an experiment follows" in "\n".join(compared(MIXED, MIXED).explanations())


def test_the_text_has_what_is_missing_orders_trained_weights_and_losses() -> None:
    comparison = replace(compared(MIXED, OTHERS), missing=["CAM, seed 5 (3 of 20 videos)"])
    text = comparison.text()
    assert text.startswith("**Not finished, so not in the figures:** CAM, seed 5 (3 of 20 videos).")
    assert "| not clear | 3 x 4 |" in text
    assert "| cam | 12,345 | 0.2500 |" in text
    assert text.index("| expected |") < text.index("| trained weights |")
    assert text.endswith("a note")


def test_cuts_that_were_not_counted_are_left_out() -> None:
    comparison = compared([with_cuts(None, None)], [with_cuts(None, None)])
    assert "| cam | 12,345 | 0.2500 |  |" in comparison.table()


def test_report_json_and_chart_are_written(tmp_path: Path) -> None:
    compared(MIXED, OTHERS).write(tmp_path / "new", "two-16")
    content = json.loads((tmp_path / "new" / "two-16.json").read_text())
    (order,) = content["orders"]
    assert (order["verdict"], order["seeds"], order["videos"]) == ("not clear", 3, 4)
    assert order["gain"]["low"] < 0 < order["gain"]["high"]
    assert content["rows"]["cam"]["trained_weights"] == 12345
    assert (tmp_path / "new" / "two-16.png").stat().st_size > 1000
    assert (tmp_path / "new" / "two-16.md").read_text().startswith("# two\n")


def test_every_expected_result_has_an_explanation_and_no_explanation_is_unused() -> None:
    claims = {expectation.claim for study in STUDIES.values() for expectation in study.expectations}
    assert claims == set(EXPLANATIONS)


def test_the_axis_of_differences_starts_below_0_and_others_at_0() -> None:
    negative, positive = Point("a", -1.0, -2.0, 0.5), Point("b", 3.0, 2.0, 4.0)
    assert Panel("", [negative, positive]).start == pytest.approx(-2.16)
    assert Panel("", [positive]).start == 0
    assert Panel("", [Point("c", -1.0, -2.0, -0.5)]).end == 0
    assert Panel("", [Point("d", 0.0, 0.0, 0.0)]).end == 1


def test_a_negative_interval_is_drawn_left_of_the_line_at_0() -> None:
    picture = chart("", [Panel("", [Point("", -1.0, -1.5, -0.5, is_met=False), Point("", 1.0, 0.5, 2.0, is_met=True)])])
    pixels = [(x, picture.getpixel((x, y))) for y in range(picture.height) for x in range(picture.width)]
    red = [x for x, colour in pixels if colour == (240, 128, 100)]
    green = [x for x, colour in pixels if colour == (96, 200, 130)]
    assert red
    assert green
    assert max(red) < min(green)
