"""Streaming refinement (arXiv 2403.14773, section 4.3): SDEdit windows, shared noise, randomized blending."""
