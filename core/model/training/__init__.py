"""Trains a preset: data, objectives, stages, recipes. Knows no service."""
