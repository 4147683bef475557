"""Sends stored videos to players, and delays playlists until there is something to play."""
