"""The model half: the only importer of torch, diffusers and transformers. Knows no Redis, no S3 and no HTTP."""
