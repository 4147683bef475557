"""What was measured of a job, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.service.domain.schema import JobMetrics, MeasuredVideo, MetricValue


def metric_lines(metrics: JobMetrics, *, with_meaning: bool = False) -> Iterator[str]:
    """A table for each variant: one column per variant would set side by side what was measured at two sizes."""
    for number, (variant, video) in enumerate(metrics.videos.items()):
        if number:
            yield ""
        yield from _video_lines(variant, video, with_meaning=with_meaning)


def _video_lines(variant: str, video: MeasuredVideo, *, with_meaning: bool) -> Iterator[str]:
    flow = f", flow {video.flow}" if video.flow else ""
    yield f"{variant}: {video.num_frames} frames{flow}"
    width = max((len(value.title) for value in video.values.values()), default=0)
    for line, value in _lines(video.values, width):
        yield line
        if with_meaning:
            source = f" ({value.source})" if value.source else ""
            yield f"      {value.meaning}{source}"
    for note in video.notes:
        yield f"  {note}"


def _lines(values: Mapping[str, MetricValue], width: int) -> Iterator[tuple[str, MetricValue]]:
    for value in values.values():
        better = f"  {value.better} is better" if value.better else ""
        yield f"  {value.title:<{width}}  {shown(value):>10}{better}", value


def shown(value: MetricValue) -> str:
    """The number with the digits that are worth showing, as the page shows it; never "-0.00"."""
    return "-" if value.value is None else f"{value.value:z.{value.decimals}f}"
