"""Encoding and decoding of video: chunks, playlists, final files. Functions over bytes and arrays."""
