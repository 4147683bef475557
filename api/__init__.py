"""The HTTP face of Longtake. Imports core.service only; never torch, never worker."""
