"""`make bench`: measures the performance figures of docs/performance.md on this machine. Asserts no time."""
