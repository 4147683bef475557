"""Measures the final videos of ended jobs, in a process of its own beside the CPU worker's other work."""
