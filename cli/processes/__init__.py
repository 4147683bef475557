"""Processes that commands start: embedded Redis and S3, the whole stack, how they are kept running and stopped."""
