"""The proxy: client connections, the request queue, locks and upstream connections, and one exchange between them.

The proxy never gives a worker more than one request at a time, and never starts or stops a worker. It uses the standard
library only. The packages above it import it; it may import `net`, `http1` and the files of the root.
"""
