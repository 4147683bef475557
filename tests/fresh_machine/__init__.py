"""The set-up on a machine with nothing but Python, make and certificates: `make fresh-machine`."""
