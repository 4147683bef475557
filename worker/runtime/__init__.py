"""What every worker process runs on: services, retries of servers, threads, status."""
