"""What the service knows of engines and refiners, without torch: definitions, presets, capabilities, registries."""
