"""The proxy: client connections, the request queue, locks and upstream connections, and one exchange between them.

It never gives a worker more than one request at a time, and never starts or stops a worker. Standard library only.
Imported by everything above it; it may import `net`, `http1` and the files of the root.
"""
