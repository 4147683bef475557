"""The sync client: httpx.Client sends the calls of client/calls."""
