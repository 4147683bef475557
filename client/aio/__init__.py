"""The async client: httpx.AsyncClient sends the calls of client/calls. Its classes mirror those of client/sync."""
