"""Measures video files: finds them and their prompts, says what is wrong, measures them in several processes."""
