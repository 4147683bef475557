"""Terminal output and saved files: progress, job changes, results."""
