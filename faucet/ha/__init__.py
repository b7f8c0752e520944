"""Several Faucets for one service: one of them, the active, has the queue and the locks; the others relay to it.

Who is the active is decided by a Lease of Kubernetes. The rules are pure, and tested as such: `record` (what the Lease
says), `term` (until when the active may grant), `promises` (how it goes on while the API is silent), `election` (who
is the active), `quarantine` (which pods a new active may not use yet), `forwarding` (what a relay does with a request).
They get the clock's reading with each event, do no I/O, and return what has to be done.

In this package a *member* is one Faucet of the service, and an *epoch* the number of a take-over.
"""
