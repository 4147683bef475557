"""Converts published checkpoints to weights folders: no code in them is run, every key is checked.

Steps: safe_file (lazy tensors of a file) -> sizes, expected, check (is it the model it claims to be?) ->
streaming_t2v or vid2vid (renaming by open_clip, ldm_vae, refiner_names) -> shards (safetensors, tensor by tensor) ->
output_folder (written atomically).
"""
