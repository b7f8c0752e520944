"""Files to start from: the demo, the API that `faucet init` writes, and the deployment examples.

Never overwrites a file.
Imported by `cli` only.
"""
