"""The control socket: its protocol, server and client, and the search for running services.

Only the user who runs the service may use it. A slow or broken client must never delay the service.
Imported by `admin`, `service`, `tui`, `doctor` and `cli`.
"""
