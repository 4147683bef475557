"""Connections to hosts in clients' URLs: allowed addresses, DNS look-ups with limits, and a circuit breaker."""
