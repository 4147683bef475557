"""A request body becomes a complete JobSpec, or is refused with the field at fault, before any GPU time is spent."""
