"""The contract of the stores that jobs live in, by topic; contract.py has the whole of it."""
