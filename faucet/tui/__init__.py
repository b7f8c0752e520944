"""The monitor: the live state of one running service in the terminal, and keys to control it.

It talks to the service only through the control socket, and never touches proxy, workers or pods directly.
Imported by `cli` and `doctor` only; Textual takes long to import, so import `tui.app` lazily.
"""
