"""Presets: folders with preset.json and perhaps weights, and the code that reads their files."""
