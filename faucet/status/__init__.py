"""Snapshots of a running service: plain tuples of numbers and text, and how to format them.

Built on demand. Nothing here changes the service, and nothing is logged but refused requests, once in a while.
Imported by `control` and the floors above it.
"""
