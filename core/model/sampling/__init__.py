"""Sampling code that engines share: noise schedules, samplers, guidance, random noise, VAE batching."""
