"""Means over videos: who answered, and that different flows and models are never mixed."""

from __future__ import annotations

import pytest

from core.metrics.evaluation.means import means_over_videos
from core.metrics.evaluation.results import Column
from tests.helpers.evaluated import measured


def test_videos_that_say_nothing_are_left_out() -> None:
    [mean] = means_over_videos([measured(ofs=1.0), measured(ofs=None), measured(ofs=3.0)], ["ofs"])
    assert (mean.value, mean.num_videos) == (2.0, 2)


def test_few_videos_have_no_interval() -> None:
    [four] = means_over_videos([measured(ofs=float(value)) for value in range(4)], ["ofs"])
    [five] = means_over_videos([measured(ofs=float(value)) for value in range(5)], ["ofs"])
    assert (four.value, four.low, four.high) == (1.5, None, None)
    assert five.value == 2
    assert five.low is not None
    assert five.high is not None
    assert 0 < five.low < 2 < five.high < 4


def test_a_single_video_has_no_interval_and_none_has_no_mean() -> None:
    one, none = means_over_videos([measured(ofs=1.0, seam_score=None)], ["ofs", "seam_score"])
    assert (one.value, one.low, one.high, one.num_videos) == (1.0, None, None, 1)
    assert (none.value, none.low, none.high, none.num_videos) == (None, None, None, 0)


def test_other_flows_and_models_are_other_columns() -> None:
    videos = [measured("dis", ofs=1.0), measured("raft-large", ofs=5.0), measured(None, "a", clip_score=1.0)]
    videos.append(measured(None, "b", clip_score=9.0))
    means = {mean.column: mean.value for mean in means_over_videos(videos, ["clip_score", "ofs"])}
    assert means == {
        Column(name="clip_score", model="a"): 1.0,
        Column(name="clip_score", model="b"): 9.0,
        Column(name="ofs", flow="dis"): 1.0,
        Column(name="ofs", flow="raft-large"): 5.0,
    }
    assert [column.name for column in means] == ["clip_score", "clip_score", "ofs", "ofs"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_finite_number_counts_as_no_answer(value: float) -> None:
    [mean] = means_over_videos([measured(ofs=value, curve=(value, 1.0)), measured(ofs=2.0)], [])
    assert (mean.value, mean.num_videos) == (2.0, 1)
    assert measured(ofs=value, curve=(value, 1.0)).curves["ofs"].values == (None, 1.0)
