"""Frames to playable bytes and back: segments, playlists, final files. Pure functions over bytes and arrays."""
