"""Several Faucets for one service: one of them, the active, has the queue and the locks; the others relay to it.

A Kubernetes Lease decides which Faucet is the active. The rules are pure, and tested as such: `record` (the content of
the Lease), `term` (until when the active may grant), `promises` (how the active continues while the API is silent),
`election` (which member is the active), `quarantine` (which pods a new active may not use yet), `member` (all of these
together). They get the clock's reading with each event, do no I/O, and return the decisions to carry out.
`lease_object`, `lease_client` and `elector` talk to the API; `wire`, `connection` and `peers` to the other members.

Requests go from a relay to the active over separate connections: `lanes` is the relay's end, `relayed` the active's,
`preface` the line before each request and response. `door` distinguishes the kinds of connections. `replica` combines
all of this with the pods; it is the Fleet that the service sees.

In this package a *member* is one Faucet of the service, and an *epoch* the number of a take-over.

The rules assume the following, and so does `just ha-sim`:

- Two clocks differ in rate by less than the lease duration divided by the renew deadline.
- A pod's UID has one process at a time.
- A request that a dead active had sent to a pod ends within the quarantine; if not, the pod may get a second one.
- A Lease is not deleted twice within a minute, nor while its holder lives on promises and a member starts that has
  never seen it.
- Between reading the clock and sending the resulting data, no process is frozen for longer than the difference between
  lease duration and renew deadline.
"""
