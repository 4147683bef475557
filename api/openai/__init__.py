"""OpenAI's videos API over the same jobs: its requests, its answers and its form of errors, under /v1."""
