"""The `longtake` command: starts processes and talks to the API.

Imports model code only inside the command that needs it.
"""
