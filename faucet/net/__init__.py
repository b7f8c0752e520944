"""Addresses, listening sockets, connectors, TLS, and programs that are run for their output.

Knows nothing of HTTP, workers or requests.
Imported by everything above it; it may import only the files of the root.
"""
