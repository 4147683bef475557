"""`longtake delivery --out FILE.svg`: the lines over time as a picture, with a mark for each chunk. Pure.

It is a text file that every browser shows; colours follow the reader's light or dark mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate

from cli.output.delivery_rows import Kind, Row, names_of, rows_of, seconds_of_all, segments
from core.metrics.delivery.measure import JobDelivery, VariantDelivery

WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 1000, 250, 830, 66, 34, 14
"""Pixels: of the picture, from where to where the lines go, of the heading, a row and its bar."""
WORDS: Mapping[Kind, str] = {
    "queued": "queued",
    "first": "first chunk is made",
    "buffer": "start-up buffer",
    "playback": "playback",
    "stall": "stall",
}
STYLE = """
  .page{fill:#ffffff}
  .queued{fill:#d0d7de} .first{fill:#eac54f} .buffer{fill:#a475f9} .playback{fill:#54aeff} .stall{fill:#cf222e}
  .chunk{stroke:#1f2328;stroke-width:1.5} .line{stroke:#d0d7de}
  text{font-family:-apple-system,"Segoe UI","DejaVu Sans",Helvetica,Arial,sans-serif;font-size:13px;fill:#1f2328}
  @media (prefers-color-scheme: dark){
    .page{fill:#0d1117} .queued{fill:#484f58} .playback{fill:#1f6feb} .chunk{stroke:#e6edf3} .line{stroke:#30363d}
    text{fill:#e6edf3}
  }
"""


def svg(measured: Sequence[JobDelivery]) -> str:
    """The picture of all deliveries, in one scale."""
    rows = rows_of(measured)
    seconds, height = seconds_of_all(rows), TOP + len(rows) * ROW + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
        '<title id="title">How chunks reached their viewers, over time</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        *_legend(),
        f'<text x="{LEFT}" y="{TOP - 6}">0</text>',
        f'<text x="{RIGHT}" y="{TOP - 6}" text-anchor="end">{seconds:.1f} s since queued</text>',
    ]
    for number, (row, name) in enumerate(zip(rows, names_of(rows), strict=True)):
        parts += _row(row, name, TOP + number * ROW, (RIGHT - LEFT) / seconds if seconds else 0.0)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend() -> Iterator[str]:
    for number, (kind, words) in enumerate(WORDS.items()):
        x = 24 + 160 * number
        yield f'<rect class="{kind}" x="{x}" y="14" width="14" height="14"/><text x="{x + 20}" y="26">{words}</text>'
    x = 24 + 160 * len(WORDS)
    yield f'<line class="chunk" x1="{x}" y1="12" x2="{x}" y2="30"/><text x="{x + 8}" y="26">chunk is there</text>'


def _row(row: Row, name: str, top: int, scale: float) -> Iterator[str]:
    base, bar = top + ROW, top + ROW - BAR - 8
    yield f'<line class="line" x1="{LEFT}" y1="{base}" x2="{RIGHT}" y2="{base}"/>'
    yield f'<text x="24" y="{bar + 12}">{escape(name)}</text><text x="{RIGHT + 16}" y="{bar + 12}">{row.verdict}</text>'
    for segment in segments(row):
        length = segment.ends - segment.begins
        yield (
            f'<rect class="{segment.kind}" x="{LEFT + scale * segment.begins:.1f}" y="{bar}"'
            f' width="{max(1.0, scale * length):.1f}" height="{BAR}">'
            f"<title>{WORDS[segment.kind]}: {length:.2f} s</title></rect>"
        )
    for at in _arrivals(row.made):
        x = LEFT + scale * at
        yield f'<line class="chunk" x1="{x:.1f}" y1="{bar - 5}" x2="{x:.1f}" y2="{bar + 4}"/>'


def _arrivals(made: VariantDelivery | None) -> Iterator[float]:
    """When chunks were there, seconds since queued."""
    return iter(()) if made is None else accumulate(made.gap_seconds, initial=made.first_chunk_seconds)
