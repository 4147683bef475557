"""One module per command. Importing it declares its arguments only; its `run` imports what it needs."""
