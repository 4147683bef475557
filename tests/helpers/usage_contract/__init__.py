"""The contract of the ports that count what a key uses, by topic; contract.py has the whole of it."""
