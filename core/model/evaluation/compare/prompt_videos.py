"""The methods' videos of each prompt, side by side. Those of the first prompts are within the page, the others beside
it: a page with all videos of 50 prompts would be too large for a browser."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from core.metrics.evaluation.pictures import Pictures
from core.metrics.reports.markup import element
from core.metrics.reports.media import MOST_EMBEDDED_BYTES
from core.metrics.reports.plots import picture_plot
from core.model.evaluation.compare.figures import figure
from core.model.evaluation.compare.plan import Video
from core.model.evaluation.compare.results import Results, fact_of
from core.model.evaluation.compare.workspace import Workspace

EMBEDDED_PROMPTS = 3
"""The videos and pictures of more are never within the page."""
_OPEN_PROMPTS = 1
"""Prompts whose videos are not folded."""


@dataclass(frozen=True)
class _Addresses:
    """Of a video and its pictures: data URLs, or relative to the page."""

    video: str
    sheet: str
    slice: str

    @property
    def characters(self) -> int:
        return len(self.video) + len(self.sheet) + len(self.slice)


def prompt_videos(
    results: Results, workspace: Workspace, most_embedded: int = MOST_EMBEDDED_BYTES
) -> Iterator[Element]:
    """A foldable part for each prompt that has a finished video. `most_embedded`: characters of all videos and pictures
    within the page."""
    left = most_embedded
    for index, prompt in enumerate(results.plan.prompts):
        grid = element("div", class_="side-by-side")
        for name, method in results.methods.items():
            if index in method.finished:
                video = results.plan.video(name, index)
                addresses = _within(workspace, video) if index < EMBEDDED_PROMPTS else None
                if addresses is None or addresses.characters > left:
                    addresses = _beside(workspace, video)
                else:
                    left -= addresses.characters
                grid.append(_figure(results, video, addresses))
        if len(grid):
            summary = element("summary", element("h3", f"{index + 1}. {prompt}"))
            yield element("details", summary, element("div", grid, class_="inside"), open=index < _OPEN_PROMPTS)


def _within(workspace: Workspace, video: Video) -> _Addresses:
    pictures: Pictures = workspace.pictures(video)
    return _Addresses(
        _data_url("video/mp4", workspace.playable(video).read_bytes()),
        _data_url("image/jpeg", pictures.sheet),
        _data_url("image/jpeg", pictures.slice),
    )


def _data_url(content_type: str, content: bytes) -> str:
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"


def _beside(workspace: Workspace, video: Video) -> _Addresses:
    files = (workspace.playable(video), *workspace.picture_files(video))
    return _Addresses(*(file.relative_to(workspace.folder).as_posix() for file in files))


def _figure(results: Results, video: Video, addresses: _Addresses) -> Element:
    """A method's video, contact sheet and x-t slice."""
    method = results.methods[video.method]
    title, values = method.facts.title, method.finished[video.index].measured.whole.values
    player = element("video", controls=True, loop=True, muted=True, preload="none", aria_label=f"Video: {title}")
    player.append(element("source", src=addresses.video, type="video/mp4"))
    described = f"x-t slice of {title}: one row of pixels of each frame side by side, time to the right"
    slice_plot = picture_plot(b"", results.plan.frames, described=described, y_label="x")
    for picture in slice_plot.iter("image"):
        picture.set("href", addresses.slice)
    figures = (
        f"{fact_of(name).title} {figure(value)}" for name in results.headline if (value := values.get(name)) is not None
    )
    sheet_alt = f"Contact sheet of {title}: frames evenly spaced from the first to the last"
    return element(
        "figure",
        element("p", title, class_="title"),
        player,
        element("img", src=addresses.sheet, alt=sheet_alt, loading="lazy"),
        slice_plot,
        element("figcaption", ", ".join(figures)),
    )
