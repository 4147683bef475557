"""Lanes: prepare, generate, refine, finalize. One task makes one piece of work on one lane."""
