"""In-memory implementations of the ports, for tests of ours and of whoever writes an engine."""
