"""The user's own videos as training data: reading a folder, and the cache of encoded clips."""
