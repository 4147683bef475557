"""The suites of `longtake evaluate`: which videos are made, measured and reported."""
