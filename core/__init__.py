"""What the service and the models are made of: core.service without torch, core.model with it."""
