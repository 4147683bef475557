"""The faults, by what they hit: each a small class with its name, what it does, and how it is undone.

fault.py says what a fault is, all_faults.py lists them all. Faults of one group never overlap, those of different
groups may. Knows no schedule and judges nothing.
"""
