"""What routes work with: the ports of the service in one bundle, and whether the servers behind them answer."""
