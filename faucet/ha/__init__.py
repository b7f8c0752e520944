"""Several Faucets for one service: one of them, the active, has the queue and the locks; the others relay to it.

Who is the active is decided by a Lease of Kubernetes. The rules are pure, and tested as such: `record` (what the Lease
says), `term` (until when the active may grant), `promises` (how it goes on while the API is silent), `election` (who
is the active), `quarantine` (which pods a new active may not use yet), `member` (these together). They get the
clock's reading with each event, do no I/O, and return what has to be done.
`lease_object`, `lease_client` and `elector` do it at the API; `wire`, `connection` and `peers` between the members.

Requests go from a relay to the active by connections of their own: `lanes` is the relay's end, `relayed` the active's,
`preface` what stands before each request and answer. `door` tells the kinds of connections apart. `replica` puts all of
it together with the pods; it is the Fleet that the service sees.

In this package a *member* is one Faucet of the service, and an *epoch* the number of a take-over.

The rules take for granted, and `just ha-sim` keeps to it:

- Two clocks differ in rate by less than the lease duration divided by the renew deadline.
- A pod's UID has one process at a time.
- A request that a dead active had sent to a pod ends within the quarantine; if not, the pod may get a second one.
- A Lease is not deleted twice within a minute, nor while its holder lives on promises and a member starts that has
  never seen it.
- Between a look at the clock and the kernel's sending of what follows, no process is frozen for longer than the
  difference between lease duration and renew deadline.
"""
