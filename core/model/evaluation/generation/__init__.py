"""Making the videos that are measured: requests, engines, the autoencoder's upper bound, refinement methods."""
