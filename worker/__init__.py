"""Celery tasks and the processes that run them. Reaches torch only through an engine, lazily."""
