"""The ports over Redis: job store, event log, outbox, uploads, worker registry, and the Celery task queue."""
