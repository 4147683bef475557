"""The janitor, its lock, and the leases of workers that have died."""
