"""Webhooks sent from the outbox: retries, limits per receiver, the signed POST."""
