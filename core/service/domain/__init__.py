"""The pure core of the service: job schema, state transitions, frame plans, ports. Imports no other package of ours."""
