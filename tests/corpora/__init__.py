"""Programs of others against the real Faucet on loopback: `just corpora`. Each recipe checks the promises."""
