"""In-memory implementations of the ports, and torch-free engines, for tests here and in packages that bring engines."""
