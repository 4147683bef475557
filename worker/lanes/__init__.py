"""The lanes of a job, one task one piece: prepare, generate, refine, finalize."""
