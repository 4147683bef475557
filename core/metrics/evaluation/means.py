"""Means over videos with bootstrap intervals, one for each column."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.metrics.bootstrap import Values, interval
from core.metrics.evaluation.results import Column, Mean, Measured, Value


def means_over_videos(measured: Sequence[Measured], order: Sequence[str]) -> list[Mean]:
    """The mean of every column; columns are in the `order` of their values' names, unknown names last.

    Videos that say nothing (None) are left out of a column's mean. Values by other flows or models have a column of
    their own.
    """
    values: dict[Column, list[Value]] = {}
    for video in measured:
        for column, value in video.by_column().items():
            values.setdefault(column, []).append(value)
    places = {name: place for place, name in enumerate(order)}
    columns = sorted(values, key=lambda column: places.get(column.name, len(places)))
    return [_mean(column, [value for value in values[column] if value is not None]) for column in columns]


def _mean(column: Column, values: Sequence[float]) -> Mean:
    if not values:
        return Mean(column=column, value=None, low=None, high=None, num_videos=0)
    if len(values) == 1:
        # Resampling a single video gives the same video: an interval of width 0 would claim that we are certain.
        return Mean(column=column, value=values[0], low=None, high=None, num_videos=1)
    found = interval(np.array(values, np.float64), _itself)
    return Mean(column=column, value=found.value, low=found.low, high=found.high, num_videos=len(values))


def _itself(means: Values) -> Values:
    return means
