"""Service discovery: the ready endpoints of a service, from DNS or EndpointSlices, locally or over SSH.

Reports answers only; `pods.endpoint_set` decides what follows from them. Never opens a connection to a pod.
Imported by `pods` and the floors above it.
"""
