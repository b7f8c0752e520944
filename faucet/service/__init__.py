"""One running service: it wires the proxy, the workers or pods, the log, the admin and the control socket together.

Owns startup, signals and shutdown. Never serves a request itself, and reports to the user only through the log.
Imported by `cli`, `doctor` and `tui` only.
"""
