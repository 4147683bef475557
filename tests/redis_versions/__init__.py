"""Redis and Valkey servers of other versions, and the tests that run on each of them."""
