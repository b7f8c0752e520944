"""Snapshots of a running service: plain tuples of numbers and text, and how to format them.

Snapshots are built on demand. This package does not change the service, and logs only refused requests, at most once
every `collect.REFUSALS_SECONDS`. Imported by `control` and the layers above.
"""
