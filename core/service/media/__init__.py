"""Input media: images and videos from an upload or a URL are checked, decoded and resized. Torch-free.

File names, declared types and headers are not trusted: bytes are counted while they arrive, the type is detected from
the first bytes, and sizes are checked before decoding.
"""
