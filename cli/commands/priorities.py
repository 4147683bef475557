"""The priorities of jobs, as arguments name them. Read at every start of the command line: no import of the schema."""

from __future__ import annotations

PRIORITIES = ("low", "normal", "high")
