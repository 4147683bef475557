"""Published checkpoints become weights folders: read without running their code, checked key by key, written whole.

Way of a conversion: safe_file (lazy tensors of a file) -> sizes, expected, check (is it the model it claims to be?) ->
streaming_t2v or vid2vid (renaming by open_clip, ldm_vae, refiner_names) -> shards (safetensors, tensor by tensor) ->
output_folder (appears when whole). Knows no sampling, no service and no Hub.
"""
