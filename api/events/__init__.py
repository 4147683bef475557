"""Server-sent events: one reader thread for all listeners of a process."""
