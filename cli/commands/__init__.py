"""One module for each command: its arguments when it is imported, its work when it runs."""
