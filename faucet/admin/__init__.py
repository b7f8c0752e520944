"""The admin listener: /livez, /readyz, /metrics and /status, on a port of its own.

Read-only: it never changes anything, and answers while every worker is busy or dead.
Imported by `service` and the layers above.
"""
