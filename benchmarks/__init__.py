"""What `make bench` measures: the figures that this project promises, on this machine. Never asserts a time."""
