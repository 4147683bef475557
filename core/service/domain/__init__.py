"""The rules of the service, pure: jobs, their changes, frame plans, ports. Imports nothing else of ours."""
