"""What engines on diffusers pipelines share: their presets, loading, steps, and the loop over windows."""
