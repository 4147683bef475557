"""One function per endpoint: the request to send and how to read its response. No I/O.

The sync and the async client send these calls; neither builds a request or reads a body itself.
"""
