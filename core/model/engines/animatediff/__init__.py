"""AnimateDiff with FreeNoise: long videos from text, without end."""
