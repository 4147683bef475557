"""Who is next, measured: the same scenarios in a seeded simulator and on the real service with a fake engine."""
