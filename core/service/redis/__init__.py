"""The ports of the service over Redis: jobs, events, outbox, uploads, workers, and the Celery queue."""
