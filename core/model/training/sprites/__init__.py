"""The synthetic world of the `sprites` preset: scenes, rendering, captions, and banks of encoded clips."""
