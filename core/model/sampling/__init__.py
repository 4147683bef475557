"""What all engines share: schedules and samplers as functions, guidance, noise, VAE batching."""
