"""The training loop that every stage shares: optimiser, averaging, checkpoints, logs, processes."""
