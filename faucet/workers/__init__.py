"""Local workers: the supervisor, one slot per worker, and the processes that run in it.

Starts, checks, recycles and stops R processes, and cleans up after them. Never handles a request's bytes.
Imported by `status` and the layers above.
"""
