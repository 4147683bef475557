"""Metrics of the frames of one video, read one by one: memory does not grow with the video's length."""
