"""The ports that routes use, and the readiness of the servers behind them."""
