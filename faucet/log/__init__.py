"""The log: the access log and messages as text or JSON, written by a thread, and a ring of recent entries.

A slow or full log output must never delay a request.
Imported by `status`, `workers`, `pods` and the packages above them; those below use the `logging` module.
"""
