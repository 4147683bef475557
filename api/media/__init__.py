"""Sending stored videos to players, and holding playlists back until there is something to play."""
