"""Server-sent events: one reader thread for all streams of a process."""
