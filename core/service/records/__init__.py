"""What is kept of a job beside Redis, and what is removed: manifests, tombstones, orphans. Over ports only."""
