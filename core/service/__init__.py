"""The service half: jobs, storage, queue, video files. Never imports core.model, torch, diffusers or transformers."""
