"""What the service and the models are made of: core.service (torch-free) and core.model (the only importer of torch)."""
