"""The monitor in a browser: a small web server that runs a monitor for each browser that comes. Needs the extra `web`.

It never talks to a service itself. Imported by `cli` only.
"""
