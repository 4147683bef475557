"""What a person sees: progress, job changes, saved results."""
