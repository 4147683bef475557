"""Fetches the input media of jobs, and decodes them in separate processes."""
