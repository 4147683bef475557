"""How requests become jobs: once for each key and id, alone or in a batch, with an answer at once or at the end."""
