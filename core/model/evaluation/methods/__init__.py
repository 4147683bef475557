"""How each compared method makes a long video: strategies on one base, ablation trials, and presets of any engine."""
