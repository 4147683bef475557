"""Pages of docs/ that are made from code: `python -m tests.docs` writes them, tests/unit/test_docs.py compares them."""
