"""Contact sheets (one picture of a video, a row per chunk), spritesheets and thumbnails."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from core.service.domain.engine import FrameHWC, FramesTHWC
from core.service.domain.frame_plan import CHUNK_FRAMES

THUMBNAIL_SIDE_PIXELS = 512
SPRITE_SIDE_PIXELS, SPRITE_COLUMNS = 256, 4
_CELL_SIDE_PIXELS = 96
_GAP = 4
_MARGIN = 28
_LABEL_WIDTH = 132
_LABEL_GAP = 14
_ROW_GAP = 14
_LINE_GAP = 5
_TITLE_SIZE, _SUBTITLE_SIZE, _LABEL_SIZE, _DETAIL_SIZE = 26, 15, 17, 13
_GREY = (128, 128, 128)
_PAPER, _INK, _QUIET, _RULE = (18, 20, 24), (238, 240, 243), (150, 156, 166), (48, 52, 60)


def contact_sheet(
    rows: Sequence[FramesTHWC], labels: Sequence[str], *, title: str = "", subtitle: str = ""
) -> Image.Image:
    """One row of up to 16 frames per chunk, with `labels` beside the rows and the title (the prompt) above.

    The first line of a label is its name, further lines are smaller; long lines are wrapped. Small frames are enlarged
    by an integer factor without smoothing, so that pixels stay visible.
    """
    assert rows, "a sheet has at least one row"
    cell_width, cell_height = _cell_size(rows[0])
    width = 2 * _MARGIN + _LABEL_WIDTH + CHUNK_FRAMES * (cell_width + _GAP) - _GAP
    title_lines = _wrapped(title, _font(_TITLE_SIZE), width - 2 * _MARGIN)
    top = _heading_bottom(len(title_lines), subtitle)
    height = top + len(rows) * (cell_height + _ROW_GAP) - _ROW_GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    if title or subtitle:
        _draw_heading(ImageDraw.Draw(sheet), title_lines, subtitle, top, width)
    for number, (frames_THWC, label) in enumerate(zip(rows, labels, strict=True)):
        row_top = top + number * (cell_height + _ROW_GAP)
        _draw_label(ImageDraw.Draw(sheet), label, row_top, cell_height)
        for column, frame_HWC in enumerate(frames_THWC):
            cell = Image.fromarray(frame_HWC).resize((cell_width, cell_height), _resampling(frame_HWC, cell_width))
            sheet.paste(cell, (_MARGIN + _LABEL_WIDTH + column * (cell_width + _GAP), row_top))
    return sheet


def thumbnail(frames_THWC: FramesTHWC) -> bytes:
    """JPEG of the middle frame, longer side at most 512 pixels; small frames are enlarged by an integer factor."""
    return as_jpeg(_fitted(frames_THWC[len(frames_THWC) // 2], THUMBNAIL_SIDE_PIXELS))


def spritesheet(
    frames_HWC: Sequence[FrameHWC], *, columns: int = SPRITE_COLUMNS, side: int = SPRITE_SIDE_PIXELS, gap: int = 0
) -> bytes:
    """JPEG of frames of one size, in order, `columns` in a row with grey gaps of `gap` pixels, the longer side of each
    at most `side` pixels; small frames are enlarged by an integer factor."""
    cells = [_fitted(frame_HWC, side) for frame_HWC in frames_HWC]
    width, height = (length + gap for length in cells[0].size)
    size = (min(len(cells), columns) * width - gap, -(-len(cells) // columns) * height - gap)
    sheet = Image.new("RGB", size, _GREY if gap else 0)
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % columns * width, number // columns * height))
    return as_jpeg(sheet)


def _fitted(frame_HWC: FrameHWC, side: int) -> Image.Image:
    """The frame with a longer side of at most `side` pixels."""
    longer = max(frame_HWC.shape[:2])
    scale = side // longer or side / longer
    size = (max(1, round(frame_HWC.shape[1] * scale)), max(1, round(frame_HWC.shape[0] * scale)))
    return Image.fromarray(frame_HWC).resize(size, _resampling(frame_HWC, size[0]))


def as_jpeg(picture: Image.Image) -> bytes:
    """A JPEG file with colours at full resolution."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=90, subsampling=0)  # optimize fails for noise: its buffer is too small
    return buffer.getvalue()


def _cell_size(frames_THWC: FramesTHWC) -> tuple[int, int]:
    """Width and height of a cell: about 96 pixels on the longer side; an integer multiple of smaller frames."""
    height, width = frames_THWC.shape[1:3]
    longer = max(width, height)
    if longer <= _CELL_SIDE_PIXELS:
        scale = -(-_CELL_SIDE_PIXELS // longer)
        return width * scale, height * scale
    return round(width * _CELL_SIDE_PIXELS / longer), round(height * _CELL_SIDE_PIXELS / longer)


def _resampling(frame_HWC: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], width: int) -> Image.Resampling:
    return Image.Resampling.NEAREST if width >= frame_HWC.shape[1] else Image.Resampling.LANCZOS


def _heading_bottom(title_lines: int, subtitle: str) -> int:
    """Top of the first row in pixels."""
    heading = title_lines * (_TITLE_SIZE + 8) + (_SUBTITLE_SIZE + 10 if subtitle else 0)
    return _MARGIN + (heading + 24 if heading else 0)


def _draw_heading(draw: ImageDraw.ImageDraw, title: Sequence[str], subtitle: str, bottom: int, width: int) -> None:
    y = _MARGIN
    for line in title:
        draw.text((_MARGIN, y), line, fill=_INK, font=_font(_TITLE_SIZE))
        y += _TITLE_SIZE + 8
    draw.text((_MARGIN, y + 2), subtitle, fill=_QUIET, font=_font(_SUBTITLE_SIZE))
    draw.line((_MARGIN, bottom - 12, width - _MARGIN, bottom - 12), fill=_RULE)


def _draw_label(draw: ImageDraw.ImageDraw, label: str, top: int, height: int) -> None:
    """Draw a label beside its row, wrapped and vertically centred."""
    name, *details = label.splitlines() or [""]
    lines = [(line, _LABEL_SIZE, _INK) for line in _wrapped(name, _font(_LABEL_SIZE), _LABEL_WIDTH - _LABEL_GAP)]
    for detail in details:
        wrapped = _wrapped(detail, _font(_DETAIL_SIZE), _LABEL_WIDTH - _LABEL_GAP)
        lines += [(line, _DETAIL_SIZE, _QUIET) for line in wrapped]
    y = top + max(0, height - sum(size + _LINE_GAP for _, size, _ in lines)) / 2
    for line, size, colour in lines:
        draw.text((_MARGIN, y + (size + _LINE_GAP) / 2), line, fill=colour, font=_font(size), anchor="lm")
        y += size + _LINE_GAP


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels, broken between words; [] without words."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
