"""Manifests, tombstones, rebuilding of lost records, and orphans. Uses the stores through their ports only."""
