"""The janitor, its lock, and the clean-up after dead workers."""
