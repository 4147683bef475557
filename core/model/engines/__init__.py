"""The engines, one folder each. Engines never import one another."""
