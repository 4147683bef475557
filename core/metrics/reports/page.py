"""report.html: one file that asks for nothing beside itself and, of large videos, the copies beside it.

Its script only sorts tables and opens what is folded; without it everything can still be read and played.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from xml.etree.ElementTree import Element

from core.metrics.evaluation.instruments import Instruments
from core.metrics.evaluation.pictures import Pictures
from core.metrics.evaluation.results import Results, Value, VideoResult
from core.metrics.reports.curves import mean_curves, video_curves
from core.metrics.reports.markup import document, element
from core.metrics.reports.media import Media, NoMedia
from core.metrics.reports.plots import picture_plot
from core.metrics.reports.titles import (
    Facts,
    better_of,
    caption_of_means,
    fact_of,
    head_of_means,
    interval_of,
    made_of,
    mean_text,
    text_of,
)

_OPEN_VIDEOS = 3
"""Of a report with more videos, all are folded."""


@dataclass(frozen=True)
class Illustrations:
    """What a page has of a video beside its numbers."""

    media: Media | NoMedia
    pictures: Pictures


def page(results: Results, instruments: Instruments, illustrations: Sequence[Illustrations]) -> str:
    """The whole file. `illustrations` are in the order of `results.videos`."""
    facts = instruments.facts
    of_curves = {**facts, **instruments.curve_facts}
    header = element("header", element("h1", "Evaluation"), element("p", made_of(results), class_="quiet"))
    means = _means(results, facts, instruments.about)
    tables = (_problems(results), means, _videos_table(results, facts) if len(results.videos) > 1 else None)
    main = element("main", *tables, mean_curves(results, of_curves), _videos(results, of_curves, illustrations))
    body = element("body", header, main, element("script", _text("report.js")))
    return document(element("html", _head(), body, lang="en"))


def _head() -> Element:
    title = element("title", "Longtake: evaluation")
    viewport = element("meta", name="viewport", content="width=device-width, initial-scale=1")
    style = element("style", _text("report.css"))
    return element("head", element("meta", charset="utf-8"), _policy(), viewport, title, style)


def _policy() -> Element:
    """What a browser may do for this page: load what is in it and beside it, and run no script but ours."""
    digest = base64.b64encode(hashlib.sha256(_text("report.js").encode()).digest()).decode()
    rules = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; media-src data: 'self' file:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    policy = element("meta", content=rules)
    policy.set("http-equiv", "Content-Security-Policy")
    return policy


def _text(name: str) -> str:
    return resources.files("core.metrics.reports").joinpath(name).read_text(encoding="utf-8")


def _problems(results: Results) -> Element | None:
    if not results.problems:
        return None
    items = [
        element(
            "li",
            element("strong", "Skipped: " if problem.is_skipped else "Note: "),
            f"{problem.input}: {problem.text}",
        )
        for problem in results.problems
    ]
    return element("section", element("h2", "What was wrong with the inputs"), element("ul", *items, class_="problems"))


def _means(results: Results, facts: Facts, about: Sequence[str]) -> Element:
    """Narrow screens have no row of heads: there each cell has its own."""
    heads = ("value",) if len(results.videos) == 1 else ("mean", "95 % interval", "videos")
    rows: list[Element] = []
    for mean in results.means:
        name = mean.column.name
        fact = fact_of(name, facts)
        meaning = element("td", fact.meaning, element("small", f" {fact.source}", class_="quiet"), class_="meaning")
        texts = (mean_text(mean, results, facts), interval_of(mean, facts), str(mean.num_videos))[: len(heads)]
        cells = [element("td", text, class_="number", data_head=head) for head, text in zip(heads, texts, strict=True)]
        cells.append(element("td", better_of(name, facts), data_head="better"))
        made_by = element("small", mean.column.made_by, class_="quiet") if mean.column.made_by else None
        rows.append(element("tr", element("th", fact.title, made_by, scope="row"), *cells, meaning))
    columns = ("metric", *(_column_head(head, is_number=True) for head in heads), "better", "what it is")
    title = head_of_means(results)
    told = (element("p", sentence, class_="quiet") for sentence in about)
    table = _table(columns, rows, title, caption_of_means(results), "means")
    return element("section", element("h2", title), *told, table)


def _videos_table(results: Results, facts: Facts) -> Element:
    heads: list[Element] = [_column_head("video"), _column_head("frames", is_number=True)]
    for column in results.columns:
        heads.append(_column_head(fact_of(column.name, facts).title, column.made_by, is_number=True))
    rows: list[Element] = []
    for number, video in enumerate(results.videos, start=1):
        link = element("a", video.name, href=f"#video-{number}", title=video.name)
        prompt = element("span", video.prompt, class_="prompt") if video.prompt else None
        row = element("tr", element("th", link, prompt, scope="row", data_value=video.name))
        row.append(_number(video.file.num_frames, str(video.file.num_frames)))
        values = video.measured.by_column()
        for column in results.columns:
            value = values.get(column)
            row.append(_number(value, text_of(value, column.name, facts)))
        rows.append(row)
    caption = "A click on a column's head sorts. A dash: the metric says nothing of this video."
    table = _table(heads, rows, "Videos", caption, "videos sortable")
    return element("section", element("h2", "Videos"), table)


def _column_head(title: str, made_by: str = "", *, is_number: bool = False) -> Element:
    small = element("small", made_by) if made_by else None
    return element("th", title, small, scope="col", class_="number" if is_number else None)


def _number(value: Value, text: str) -> Element:
    return element("td", text, class_="number", data_value="" if value is None else repr(value))


def _table(
    heads: Sequence[str | Element], rows: Sequence[Element], label: str, caption: str, class_: str | None = None
) -> Element:
    cells = [head if isinstance(head, Element) else element("th", head, scope="col") for head in heads]
    table = element(
        "table",
        element("caption", caption),
        element("thead", element("tr", *cells)),
        element("tbody", *rows),
        class_=class_,
    )
    # Wide tables scroll; with the keyboard, too.
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def _videos(results: Results, facts: Facts, illustrations: Sequence[Illustrations]) -> Element:
    section = element("section", element("h2", "Each video"))
    for number, (video, of_video) in enumerate(zip(results.videos, illustrations, strict=True), start=1):
        inside = element("div", _told(video), class_="inside")
        for note in video.measured.notes:
            inside.append(element("p", note, class_="quiet"))
        inside.append(_media(video, of_video))
        inside.append(video_curves(video, facts, picture=_slice(video, of_video.pictures.slice)))
        is_open = len(results.videos) <= _OPEN_VIDEOS
        summary = element("summary", element("h3", video.name))
        section.append(element("details", summary, inside, id=f"video-{number}", open=is_open))
    return section


def _told(video: VideoResult) -> Element:
    file = video.file
    rate = f"{file.fps:.5g} frames per second"
    varies = ", varying" if file.varies else ""
    told = f"{file.num_frames} frames of {file.width}x{file.height} pixels, {rate}{varies}. SHA-256 {file.sha256}."
    prompts = [video.prompt] if video.prompt else []
    prompts += [f"From frame {change.start_frame}: {change.text}" for change in video.prompt_changes]
    return element("p", *(element("strong", f"{prompt} ") for prompt in prompts), element("span", told, class_="quiet"))


def _media(video: VideoResult, illustrations: Illustrations) -> Element:
    sheet = f"data:image/jpeg;base64,{base64.b64encode(illustrations.pictures.sheet).decode()}"
    alt = f"Contact sheet of {video.name}: frames evenly spaced from the first to the last"
    caption = "Contact sheet: frames evenly spaced from the first to the last, row by row."
    pictures = element("figure", element("img", src=sheet, alt=alt), element("figcaption", caption))
    return element("div", element("figure", *_player(video, illustrations.media)), pictures, class_="media")


def _player(video: VideoResult, media: Media | NoMedia) -> Sequence[Element]:
    """The player, and what the script shows in its place where the browser does not play the file."""
    if isinstance(media, NoMedia):
        return [element("p", media.reason, class_="quiet")]
    # No type: by the name of some formats, browsers refuse files that they can play.
    source = element("source", src=media.url)
    player = element(
        "video", source, controls=True, preload="metadata", muted=True, aria_label=f"The video {video.name}"
    )
    link = element("a", "Save it for another player", download=media.file_name)
    return [player, element("p", "This browser does not play the file. ", link, class_="unplayable", hidden=True)]


def _slice(video: VideoResult, jpeg: bytes) -> Element:
    described = f"x-t slice of {video.name}: the middle row of pixels of each frame side by side, time to the right"
    plot = picture_plot(jpeg, video.file.num_frames, described=described, y_label="x")
    caption = "The middle row of pixels of each frame side by side: motion draws lines, a cut breaks all of them."
    title = element("p", "x-t slice", class_="title")
    return element("figure", title, plot, element("figcaption", caption))
