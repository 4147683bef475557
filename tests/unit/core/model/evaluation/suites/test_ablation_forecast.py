"""The forecast of an ablation run: what is left, and how long it takes at the pace so far."""

import pytest

from core.model.evaluation.suites.ablation_forecast import Forecast, Pace


def test_before_the_first_training_there_is_no_estimate() -> None:
    text = Forecast(Pace(12), Pace(260)).text()
    assert text.startswith("left: 12 trainings, 260 videos; an estimate")


def test_the_estimate_extrapolates_both_kinds_of_work() -> None:
    forecast = Forecast(Pace(12), Pace(260))
    forecast.videos.add(20, 200.0)
    assert "estimate" in forecast.text()
    forecast.trainings.add(1, 360.0)
    assert forecast.text() == "left: 11 trainings, 240 videos: about 1:46:00"


def test_a_resumed_training_counts_as_the_part_that_was_done_now() -> None:
    pace = Pace(2.25)
    pace.add(0.25, 100.0)
    assert pace.seconds_left == pytest.approx(800)


def test_nothing_left_takes_no_time_even_if_nothing_was_measured() -> None:
    forecast = Forecast(Pace(0), Pace(1))
    forecast.videos.add(1, 5.0)
    assert forecast.text() == "left: 0 trainings, 0 videos: about 0:00:00"
