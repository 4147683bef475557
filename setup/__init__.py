"""Setup of a checkout: `python -m setup.environment`. Standard library only, as nothing is installed yet."""
