"""The set-up of a checkout: `python -m setup.environment`. Standard library alone, as nothing is installed yet."""
