"""Connections to hosts that clients name: which addresses are allowed, names resolved within a time limit."""
