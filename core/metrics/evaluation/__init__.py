"""Measures video files: finds them and their prompts, says what is wrong with them, measures them in several processes."""
