"""What machines ask a running Faucet: whether it lives, whether it is ready, and its numbers. A listener of its own."""
