"""The slice through time shows the middle column of every frame at its place."""

import numpy as np

from core.service.video.time_slice import ROW_HEIGHT_PIXELS, time_slices


def test_each_frame_s_middle_column_stands_at_its_time() -> None:
    frames_THWC = np.full((48, 8, 6, 3), 60, np.uint8)
    frames_THWC[20, :, 3] = (250, 10, 20)
    picture = np.asarray(time_slices([frames_THWC], ["preview"]))
    rows, columns = np.where((picture == (250, 10, 20)).all(axis=2))
    assert rows.max() - rows.min() + 1 == ROW_HEIGHT_PIXELS
    start = np.where((picture[rows[0]] == (60, 60, 60)).all(axis=1))[0].min()
    assert (columns.min() - start, columns.max() - start) == (20 * 8, 20 * 8 + 7)


def test_videos_of_different_sizes_have_rows_of_one_height() -> None:
    small, large = np.full((20, 8, 8, 3), 90, np.uint8), np.full((20, 16, 16, 3), 180, np.uint8)
    picture = np.asarray(time_slices([small, large], ["preview", "refined"]))
    assert [(picture == grey).all(axis=2).sum() for grey in (90, 180)] == [ROW_HEIGHT_PIXELS * 20 * 8] * 2
