"""Input media of clients: fetched, and decoded in processes of their own."""
