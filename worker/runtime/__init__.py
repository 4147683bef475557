"""What every worker process uses: services, retries, threads, status."""
