"""Heads of columns and values as texts, the same in every form of a report."""

from __future__ import annotations

from collections.abc import Mapping

from core.metrics.evaluation.means import FEWEST_FOR_INTERVAL
from core.metrics.evaluation.results import Column, Mean, Results, Value
from core.metrics.video.metric import Fact

Facts = Mapping[str, Fact]
"""By the name of a value or a curve."""
UNKNOWN = "-"
"""In place of a value that is not known."""


def fact_of(name: str, facts: Facts) -> Fact:
    """What readers must know of a value; of one that nobody described, only its name."""
    return facts.get(name) or Fact(title=name, meaning="")


def title_of(column: Column, facts: Facts) -> str:
    """Such as "Warp error, dis": the head of a column, with the flow and the model that its values come from."""
    title = fact_of(column.name, facts).title
    return f"{title}, {column.made_by}" if column.made_by else title


def text_of(value: Value, name: str, facts: Facts) -> str:
    """A value with the decimals of its fact, never "-0.00"; whole numbers as they are."""
    if value is None:
        return UNKNOWN
    return str(value) if isinstance(value, int) else f"{value:z.{fact_of(name, facts).decimals}f}"


def mean_text(mean: Mean, results: Results, facts: Facts) -> str:
    """A mean, with the decimals of its fact also of whole numbers; of a single video its value."""
    value = mean.value
    if len(results.videos) == 1:
        value = results.videos[0].measured.by_column()[mean.column]
    return text_of(value, mean.column.name, facts)


def interval_of(mean: Mean, facts: Facts) -> str:
    """Such as "1.20 to 1.45"."""
    if mean.low is None or mean.high is None:
        return UNKNOWN
    name = mean.column.name
    return f"{text_of(float(mean.low), name, facts)} to {text_of(float(mean.high), name, facts)}"


def better_of(name: str, facts: Facts) -> str:
    """In words which values are better."""
    return fact_of(name, facts).better or UNKNOWN


def counted(number: int, what: str) -> str:
    """Such as "1 video", "2 videos"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def head_of_means(results: Results) -> str:
    """What the table of means is called: a single video has values."""
    return "Values" if len(results.videos) == 1 else "Means"


def caption_of_means(results: Results) -> str:
    """What stands in the table of means."""
    if len(results.videos) == 1:
        return "A dash: the metric says nothing of this video."
    return (
        "Means over the videos that answered, with 95 % bootstrap intervals over videos, from "
        f"{FEWEST_FOR_INTERVAL} videos on: fewer would give intervals that are far too narrow."
    )


def made_of(results: Results) -> str:
    """What was measured, and what made the numbers."""
    flows = sorted({column.flow for column in results.columns if column.flow})
    models = sorted({column.model for column in results.columns if column.model})
    frames = sum(video.file.num_frames for video in results.videos)
    size = results.options.get("size")
    made = [f"optical flow: {', '.join(flows)}" if flows else "no optical flow"]
    if flows and size:
        made[0] += f" at {size}x{size} pixels"
    made.append(f"networks: {', '.join(models)}" if models else "no networks")
    versions = f"Longtake {results.longtake_version}, metrics version {results.metrics_version}"
    return f"{counted(len(results.videos), 'video')}, {frames} frames. {versions}; {'; '.join(made)}."
