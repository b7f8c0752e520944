"""The control socket: its protocol, server and client, and how a running service is found.

Only the user who runs the service may use it. A slow or broken client must never delay the service.
Imported by `admin`, `service`, `tui`, `doctor` and `cli`.
"""
